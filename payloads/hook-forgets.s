# A hook that says it is done, and is not
#
# With an apply hook Xen patches nothing itself: the hook has to patch every function, and to mark it so. This
# one only returns 0. Xen looks at the marks before it lets the other processors go on, and stops the machine
# rather than have it go on half patched.
#
#! expect[--run-hooks]: accepted
#! step[--run-hooks]: apply -> crash
#! logs[--run-hooks]: hook-forgets: Payload has a function: 'xen_minor_version' with inconsistent applied state.

        .text
        .balign 16
        .type do_nothing, @function
do_nothing:
        xor     %eax, %eax
        ret
        .size do_nothing, . - do_nothing

        .livepatch_hook apply, do_nothing

        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        mov     $18, %eax
        ret
        .size replacement, . - replacement

        .livepatch_func "xen_minor_version", replacement, 6

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
