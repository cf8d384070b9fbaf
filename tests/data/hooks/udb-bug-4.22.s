# BUG() in a pre-apply hook as Xen 4.22.0 has it, the byte d6 (Xen commit 1f3dd605ea). With WARN defined it is a WARN(),
# with UD2 defined the instruction of older releases.
        .include "common.inc"
        .globl new_extra
        .type new_extra, @function
new_extra:
        lea .Lmsg(%rip), %rax
        ret
        .size new_extra, .-new_extra
        .type pre, @function
pre:
        .ifdef UD2
1:      ud2
        .else
1:      .byte 0xd6
        .endif
        xor %eax, %eax
        ret
        .size pre, .-pre
        .ifdef WARN
        .section .bug_frames.1, "a", @progbits
        .else
        .section .bug_frames.2, "a", @progbits
        .endif
2:      .long (1b - 2b) + (((42 >> 7) & 0x7f) << 24)
        .long (.Lfname - 2b) + ((42 & 0x7f) << 24)
        .section .rodata.str, "a", @progbits
.Lmsg:  .asciz "-patched"
.Lfname: .asciz "hook.c"
        .section .livepatch.hooks.preapply, "a", @progbits
        .quad pre
        lpfunc xen_extra_version, new_extra, 8, 16
