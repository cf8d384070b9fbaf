// Compiled hooks
//
// A hook is a pointer to a function in a section of its own. Compilers put constants with addresses in them among
// what a linker writes to, and so takes Xen the section for variables: the patch cannot be applied a second time.
// That of hooks.s, written by hand, is read-only.
//
//! expect: accepted
//! step: apply -> 0
//! logs: hooks: Calling pre-apply hook function
//! step: revert -> 0
//! step: apply -> 1 EINVAL
//! expect[--run-hooks]: accepted
//! step[--run-hooks]: apply -> 0
//! logs[--run-hooks]: 1 processors, go ahead
//! logs[--run-hooks]: hooks: Applying 1 functions
//! logs[--run-hooks]: load hook
//! step[--run-hooks]: revert -> 0
//! logs[--run-hooks]: hooks: Reverting
//! logs[--run-hooks]: unload hook

#include "livepatch.h"

static int look_first(struct livepatch_payload *payload)
{
    (void)payload;
    printk("%u processors, go ahead\n", nr_cpu_ids);
    return 0;
}
LIVEPATCH_HOOK(preapply, look_first);

static void when_applied(void)
{
    printk("load hook\n");
}
LIVEPATCH_HOOK(load, when_applied);

static void when_reverted(void)
{
    printk("unload hook\n");
}
LIVEPATCH_HOOK(unload, when_reverted);

unsigned int new_minor_version(void)
{
    return 18;
}

LIVEPATCH_FUNCTIONS hooks_functions[] = {
    { .name = "xen_minor_version", .new_address = new_minor_version,
      .new_size = 6, .old_size = 6, .version = 2 },
};
