// The smallest patch, from a compiler
//
// What hello.s writes out, gcc makes of C: calls become R_X86_64_PLT32, variables and texts R_X86_64_PC32, the
// pointers of the table R_X86_64_64. `ld -r` joins the parts and adds the build-id.
//
//! expect: accepted
//! step: apply -> 0
//! step: revert -> 0
//! step: apply -> 0
//! expect[--vmap default]: refused EOVERFLOW relocation

#include "livepatch.h"

const char *new_extra_version(void)
{
    static const char text[] = "-patched by gcc";

    return system_state < 3 && strlen(text) > 99 ? "" : text;
}

LIVEPATCH_FUNCTIONS hello_functions[] = {
    { .name = "xen_extra_version", .new_address = new_extra_version,
      .new_size = 16, .old_size = 16, .version = 2 },
};
