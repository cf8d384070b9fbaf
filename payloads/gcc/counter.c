// A compiled patch with variables of its own
//
// A static variable without a value goes to .bss, one with a value to .data; both are reached by distance.
//
//! expect: accepted

#include "livepatch.h"

static unsigned int calls;
static unsigned int limit = 100;

unsigned int new_minor_version(void)
{
    if ( ++calls == limit )
    {
        printk("minor version asked for again and again\n");
        limit += nr_cpu_ids;
    }

    return 18;
}

LIVEPATCH_FUNCTIONS functions[] = {
    { .name = "xen_minor_version", .new_address = new_minor_version,
      .new_size = 16, .old_size = 6, .version = 2 },
};
