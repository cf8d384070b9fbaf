// The lower one of two compiled patches
//
// Its helper is there for later patches to call. The build-id that they name as what they stand on is read from
// this patch when it is finished.
//
//! expect: accepted
//! step: apply -> 0

#include "livepatch.h"

unsigned int next_version(unsigned int version)
{
    return version + 1;
}

unsigned int base_minor_version(void)
{
    return next_version(17);
}

LIVEPATCH_FUNCTIONS stack_base_functions[] = {
    { .name = "xen_minor_version", .new_address = base_minor_version,
      .new_size = 6, .old_size = 6, .version = 2 },
};
