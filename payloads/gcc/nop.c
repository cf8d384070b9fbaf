// A compiled patch without code
//
// An entry without a new function makes NOPs of the first bytes of the old one, behind its endbr64.
//
//! expect: accepted
//! step: apply -> 0
//! bytes: do_nmi_op f30f1efa0f1f8000000000
//! step: revert -> 0
//! bytes: do_nmi_op f30f1efaf0ff05

#include "livepatch.h"

LIVEPATCH_FUNCTIONS nop_functions[] = {
    { .name = "do_nmi_op", .new_size = 11, .old_size = 37, .version = 2 },
};
