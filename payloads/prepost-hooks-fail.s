# A hook that always refuses
#
# The pre-apply hook finds the number of functions in struct payload that it was passed the address of, and returns
# -EINVAL all the same. So nothing is patched, and none of the other hooks is called: each of them would stop the
# machine.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect[--run-hooks]: accepted
#! step[--run-hooks]: apply -> 1 EINVAL
#! logs[--run-hooks]: prepost-hooks-fail: Calling pre-apply hook function
#! logs[--run-hooks]: prepost-hooks-fail: pre-apply hook failed (rc=-22), aborting!
#! bytes[--run-hooks]: xen_extra_version 488d05
#! step[--run-hooks]: unload -> 0

        .text
        .balign 16
        .type refuse, @function
refuse:
        mov     112(%rdi), %rax         # nfuncs; from 4.17.3, 4.18.1 and 4.19.0 on, a pointer to their states
        test    %rax, %rax
        jns     1f
        mov     120(%rdi), %eax         # nfuncs there
1:      cmp     $1, %eax
        jne     stop
        mov     $-22, %eax              # -EINVAL
        ret
        .size refuse, . - refuse

        .type stop, @function
stop:
        ud2
        .size stop, . - stop

        .livepatch_hook preapply, refuse
        .livepatch_hook postapply, stop
        .livepatch_hook prerevert, stop
        .livepatch_hook postrevert, stop

        .text

        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        lea     .Lreplacement(%rip), %rax
        ret
        .size replacement, . - replacement

        .section .rodata.str, "aMS", @progbits, 1
.Lreplacement:
        .asciz  "-patched"

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
