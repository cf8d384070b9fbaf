# Hooks in the place of applying and reverting
#
# Where a patch has an apply hook, Xen patches nothing itself; it only looks afterwards whether the hook has marked
# every function as patched. This one marks them, and the revert hook takes the marks away; the functions themselves
# stay as they were.
# Where it is written whether a function is patched depends on the release: in byte 64 of its entry, or, from 4.17.3,
# 4.18.1 and 4.19.0 on, in an array of Xen's own that struct payload points to at offset 112. Before that, the number of
# functions is at offset 112 (after that, at 120), and no number of functions looks like an address of Xen's.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect[--run-hooks]: accepted
#! step[--run-hooks]: apply -> 0
#! logs[--run-hooks]: action-hooks: Calling apply action hook function
#! logs[--run-hooks]: action-hooks finished APPLY with rc=0
#! bytes[--run-hooks]: xen_extra_version 488d05
#! step[--run-hooks]: revert -> 0
#! logs[--run-hooks]: action-hooks: Calling revert action hook function
#! logs[--run-hooks]: action-hooks finished REVERT with rc=0
#! step[--run-hooks]: apply -> 0
#! step[--run-hooks]: revert -> 0
#! step[--run-hooks]: unload -> 0

        .text
        .balign 16
        .type apply_hook, @function
apply_hook:
        mov     $1, %esi
        call    mark
        xor     %eax, %eax
        ret
        .size apply_hook, . - apply_hook

        .type revert_hook, @function
revert_hook:
        xor     %esi, %esi
        call    mark
        xor     %eax, %eax
        ret
        .size revert_hook, . - revert_hook

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

        .livepatch_hook apply, apply_hook
        .livepatch_hook revert, revert_hook

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
