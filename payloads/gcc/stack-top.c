// A compiled patch that stands on another one
//
// It calls the helper of stack-base.c, and stands on that patch, not on Xen. Nothing new in it may be called as
// something in Xen or in another patch is, not even its table of functions; only a replacement may.
//
//! on: stack-base
//! expect: accepted
//! step: apply -> 0
//! step: revert stack-base -> 2 EBUSY
//! step: revert -> 0
//! step: revert stack-base -> 0
//! step: apply -> 1 EINVAL
//! logs: stack-top: check against hypervisor build-id failed

#include "livepatch.h"

#pragma GCC visibility push(hidden)
unsigned int next_version(unsigned int version);
#pragma GCC visibility pop

unsigned int top_major_version(void)
{
    return next_version(4);
}

LIVEPATCH_FUNCTIONS stack_top_functions[] = {
    { .name = "xen_major_version", .new_address = top_major_version,
      .new_size = 10, .old_size = 6, .version = 2 },
};
