// A compiled patch with variables of its own
//
// A static variable without a value goes to .bss, one with a value to .data; both are reached by distance. After a
// revert nobody knows what they hold, so the patch has to be uploaded again.
//
//! expect: accepted
//! step: apply -> 0
//! step: revert -> 0
//! step: apply -> 1 EINVAL
//! logs: counter: can't revert as payload has .data. Please unload

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

LIVEPATCH_FUNCTIONS counter_functions[] = {
    { .name = "xen_minor_version", .new_address = new_minor_version,
      .new_size = 16, .old_size = 6, .version = 2 },
};
