/* What a live patch is made of, for a C compiler: the function table, version 2 (Xen 4.14 and later), and hooks. */

#ifndef SAMPLE_LIVEPATCH_H
#define SAMPLE_LIVEPATCH_H

struct livepatch_function {
    const char *name;
    void *new_address;          /* null: NOPs */
    void *old_address;          /* null: Xen looks it up by the name */
    unsigned int new_size;
    unsigned int old_size;
    unsigned char version;
    unsigned char reserved[39];
    unsigned char expectation_flags;
    unsigned char expectation[31];
};

_Static_assert(sizeof(struct livepatch_function) == 104, "an entry has 104 bytes");

/* What must stand at the old address, in that many bytes: bit 0 says that there is an expectation at all. */
#define EXPECTS(length, ...) \
    .expectation_flags = 1 | (length) << 1, .expectation = { __VA_ARGS__ }

#define LIVEPATCH_FUNCTIONS \
    __attribute__((section(".livepatch.funcs"), used)) struct livepatch_function

/* A function that Xen calls; `kind` is load, unload, preapply, apply, postapply, prerevert, revert or postrevert. */
#define LIVEPATCH_HOOK(kind, function) \
    __attribute__((section(".livepatch.hooks." #kind), used)) \
    static __typeof__(function) *const kind##_hook_##function = function

struct livepatch_payload;

/* What Xen offers. Hidden, so that the compiler refers to it by distance and not through a GOT. */
#pragma GCC visibility push(hidden)
unsigned long strlen(const char *text);
int printk(const char *format, ...);
extern unsigned int system_state;
extern unsigned int nr_cpu_ids;
#pragma GCC visibility pop

#endif
