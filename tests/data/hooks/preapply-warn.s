# A WARN() in a pre-apply hook (Xen commit a57b4074ab): it stopped the machine before 4.17.4 and 4.18.1, where the payload's
# text was no known region before it was applied.
        .include "common.inc"
        .globl new_extra
        .type new_extra, @function
new_extra:
        lea msg(%rip), %rax
        ret
        .size new_extra, .-new_extra
        .type pre, @function
pre:
1:      ud2
        xor %eax, %eax
        ret
        .size pre, .-pre
        # struct bug_frame_1 (WARN), 8 bytes: disp:24 + line hi, ptr:24 + line lo
        .section .bug_frames.1, "a", @progbits
2:      .long (1b - 2b) + (((42 >> 7) & 0x7f) << 24)
        .long (fname - 2b) + ((42 & 0x7f) << 24)
        .section .rodata.str, "a", @progbits
msg:    .asciz "-patched"
fname:  .asciz "hook.c"
        .section .livepatch.hooks.preapply, "aw", @progbits
        .quad pre
        lpfunc xen_extra_version, new_extra, 8, 16, "aw"
