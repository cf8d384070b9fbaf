# An apply hook that does half of its work
#
# It marks the first of two functions as patched and forgets the second. Xen looks at the marks before it lets the other
# processors go on, and stops the machine.
# Where it is written whether a function is patched depends on the release: in byte 64 of its entry, or, from 4.17.3,
# 4.18.1 and 4.19.0 on, in an array of Xen's own that struct payload points to at offset 112. Before that, the number of
# functions is at offset 112 (after that, at 120), and no number of functions looks like an address of Xen's.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect[--run-hooks]: accepted
#! step[--run-hooks]: apply -> crash
#! logs[--run-hooks]: action-hooks-noapply: Calling apply action hook function
#! logs[--run-hooks]: action-hooks-noapply: Payload has a function: 'strlen' with inconsistent applied state.

        .text
        .balign 16
        .type apply_hook, @function
apply_hook:
        mov     104(%rdi), %rdx         # funcs
        add     $64, %rdx
        mov     112(%rdi), %rcx         # nfuncs, or fstate
        test    %rcx, %rcx
        jns     1f
        lea     4(%rcx), %rdx
1:      movb    $1, (%rdx)
        xor     %eax, %eax
        ret
        .size apply_hook, . - apply_hook

        .livepatch_hook apply, apply_hook

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
        .livepatch_func "strlen", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
