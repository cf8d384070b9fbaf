# Hooks that look at the patch that they belong to
#
# The hooks before and after an action are passed the address of Xen's struct payload. These walk over the functions
# of the patch, as Xen's own tests of hooks do, and look whether each is marked as it has to be at that moment: not
# patched before applying, patched from then until it is reverted. The last one that is asked does not let the
# patch be reverted, so that it stays for good.
# Where it is written whether a function is patched depends on the release: in byte 64 of its entry, or, from 4.17.3,
# 4.18.1 and 4.19.0 on, in an array of Xen's own that struct payload points to at offset 112. Before that, the number of
# functions is at offset 112 (after that, at 120), and no number of functions looks like an address of Xen's.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect[--run-hooks]: accepted
#! step[--run-hooks]: apply -> 0
#! logs[--run-hooks]: prepost-hooks: Calling pre-apply hook function
#! logs[--run-hooks]: before: xen_extra_version
#! logs[--run-hooks]: prepost-hooks: Applying 1 functions
#! logs[--run-hooks]: prepost-hooks: Calling post-apply hook function with rc=0
#! logs[--run-hooks]: after: xen_extra_version
#! logs[--run-hooks]: prepost-hooks finished APPLY with rc=0
#! step[--run-hooks]: revert -> 1 EPERM
#! logs[--run-hooks]: prepost-hooks: Calling pre-revert hook function
#! logs[--run-hooks]: after: xen_extra_version
#! logs[--run-hooks]: prepost-hooks: pre-revert hook failed (rc=-1), aborting!
#! step[--run-hooks]: unload -> 1

        .text
        .balign 16
        .type before_applying, @function
before_applying:
        xor     %esi, %esi
        lea     .Lbefore(%rip), %rdx
        call    look
        xor     %eax, %eax
        ret
        .size before_applying, . - before_applying

        .type after_applying, @function
after_applying:
        mov     $1, %esi
        lea     .Lafter(%rip), %rdx
        jmp     look
        .size after_applying, . - after_applying

        .type before_reverting, @function
before_reverting:
        mov     $1, %esi
        lea     .Lafter(%rip), %rdx
        call    look
        mov     $-1, %eax               # -EPERM
        ret
        .size before_reverting, . - before_reverting

        # void look(struct payload *payload, int mark, const char *format): stop the machine unless every function is
        # marked so, and print their names.
        .type look, @function
look:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        mov     %rdx, %r14
        mov     %esi, %r13d
        mov     104(%rdi), %rbx         # funcs
        lea     64(%rbx), %rbp          # the mark of the first
        mov     112(%rdi), %r12         # nfuncs, or fstate
        test    %r12, %r12
        jns     1f
        lea     4(%r12), %rbp
        mov     120(%rdi), %r12d        # nfuncs
        mov     $40, %eax
        jmp     2f
1:      mov     $104, %eax
2:      mov     %rax, -8(%rsp)
        test    %r12, %r12
        je      5f
3:      movzbl  (%rbp), %eax
        cmp     %r13d, %eax
        jne     4f
        push    -8(%rsp)
        mov     %r14, %rdi
        mov     (%rbx), %rsi
        xor     %eax, %eax
        call    printk@PLT
        pop     %rax
        add     %rax, %rbp
        mov     %rax, -8(%rsp)
        add     $104, %rbx
        dec     %r12
        jne     3b
        jmp     5f
4:      ud2
5:      pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret
        .size look, . - look

        .section .rodata.str, "aMS", @progbits, 1
.Lbefore:
        .asciz  "before: %s\n"
.Lafter:
        .asciz  "after: %s\n"

        .livepatch_hook preapply, before_applying
        .livepatch_hook postapply, after_applying
        .livepatch_hook prerevert, before_reverting

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
