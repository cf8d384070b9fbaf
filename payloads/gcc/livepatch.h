/* The entry of a live patch's function table, version 2 (Xen 4.14 and later): 104 bytes. */

#ifndef SAMPLE_LIVEPATCH_H
#define SAMPLE_LIVEPATCH_H

struct livepatch_function {
    const char *name;
    void *new_address;
    void *old_address;          /* null: Xen looks it up by the name */
    unsigned int new_size;
    unsigned int old_size;
    unsigned char version;
    unsigned char reserved[39];
    unsigned char expectation_flags;
    unsigned char expectation[31];
};

_Static_assert(sizeof(struct livepatch_function) == 104, "an entry has 104 bytes");

#define LIVEPATCH_FUNCTIONS \
    __attribute__((section(".livepatch.funcs"), used)) struct livepatch_function

/* What Xen offers. Hidden, so that the compiler refers to it by distance and not through a GOT. */
#pragma GCC visibility push(hidden)
unsigned long strlen(const char *text);
int printk(const char *format, ...);
extern unsigned int system_state;
extern unsigned int nr_cpu_ids;
#pragma GCC visibility pop

#endif
