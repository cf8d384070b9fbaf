# A hook that marks functions before Xen gets to them
#
# Xen leaves out functions that are marked as patched when it applies a patch, and those that are not when it
# reverts it. The hooks before both actions mark them so; the patch is applied and reverted, and nothing happens to
# the function.
# Where it is written whether a function is patched depends on the release: in byte 64 of its entry, or, from 4.17.3,
# 4.18.1 and 4.19.0 on, in an array of Xen's own that struct payload points to at offset 112. Before that, the number of
# functions is at offset 112 (after that, at 120), and no number of functions looks like an address of Xen's.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect[--run-hooks]: accepted
#! step[--run-hooks]: apply -> 0
#! logs[--run-hooks]: action-hooks-marker: Calling pre-apply hook function
#! logs[--run-hooks]: action-hooks-marker: Applying 1 functions
#! logs[--run-hooks]: action-hooks-marker finished APPLY with rc=0
#! bytes[--run-hooks]: xen_extra_version 488d05
#! step[--run-hooks]: revert -> 0
#! logs[--run-hooks]: action-hooks-marker: Reverting
#! bytes[--run-hooks]: xen_extra_version 488d05
#! step[--run-hooks]: unload -> 0

        .text
        .balign 16
        .type before_applying, @function
before_applying:
        mov     $1, %esi
        call    mark
        xor     %eax, %eax
        ret
        .size before_applying, . - before_applying

        .type before_reverting, @function
before_reverting:
        xor     %esi, %esi
        call    mark
        xor     %eax, %eax
        ret
        .size before_reverting, . - before_reverting

        # void mark(struct payload *payload, int mark): mark every function as patched or not.
        .type mark, @function
mark:
        mov     104(%rdi), %rdx         # funcs
        add     $64, %rdx
        mov     $104, %r8d
        mov     112(%rdi), %rcx         # nfuncs, or fstate
        test    %rcx, %rcx
        jns     1f
        lea     4(%rcx), %rdx
        mov     $40, %r8d
        mov     120(%rdi), %ecx         # nfuncs
1:      test    %rcx, %rcx
        je      3f
2:      mov     %sil, (%rdx)
        add     %r8, %rdx
        dec     %rcx
        jne     2b
3:      ret
        .size mark, . - mark

        .livepatch_hook preapply, before_applying
        .livepatch_hook prerevert, before_reverting

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
