// A compiled patch that says what it expects
//
// The old function is mov $17, %eax; ret. In a patch on top of this one it would be this one's jump.
//
//! expect: accepted
//! step: apply -> 0
//! logs: expectation: Verifying enabled expectations for all functions
//! step: revert -> 0
//! bytes: xen_minor_version b811000000c3

#include "livepatch.h"

unsigned int new_minor_version(void)
{
    return 18;
}

LIVEPATCH_FUNCTIONS expectation_functions[] = {
    { .name = "xen_minor_version", .new_address = new_minor_version,
      .new_size = 6, .old_size = 6, .version = 2,
      EXPECTS(6, 0xb8, 0x11, 0x00, 0x00, 0x00, 0xc3) },
};
