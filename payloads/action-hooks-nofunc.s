# Hooks in the place of applying and reverting, and no functions
#
# A patch may consist of hooks alone. These look whether Xen knows that, and fail if struct payload, which they are
# passed the address of, has any functions or a table of them.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect[--run-hooks]: accepted
#! step[--run-hooks]: apply -> 0
#! logs[--run-hooks]: action-hooks-nofunc: Calling apply action hook function
#! logs[--run-hooks]: action-hooks-nofunc finished APPLY with rc=0
#! step[--run-hooks]: revert -> 0
#! logs[--run-hooks]: action-hooks-nofunc: Calling revert action hook function
#! step[--run-hooks]: apply -> 0
#! step[--run-hooks]: revert -> 0
#! step[--run-hooks]: unload -> 0

        .text
        .balign 16
        .type look, @function
look:
        mov     104(%rdi), %rax         # funcs
        or      112(%rdi), %rax         # nfuncs; from 4.17.3, 4.18.1 and 4.19.0 on, fstate
        je      1f
        mov     $-22, %eax              # -EINVAL
1:      ret
        .size look, . - look

        .livepatch_hook apply, look
        .livepatch_hook revert, look

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
