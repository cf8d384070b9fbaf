# A load hook that writes to Xen's read-only data (Xen commits b083b1c393, 8676092a0f): while CR0.WP was cleared it could;
# from 4.16.4, 4.17.1 and 4.18.0 on that faults, until rodata was relaxed as well (4.17.4, 4.18.2, 4.19.0).
        .include "common.inc"
        .globl new_extra
        .type new_extra, @function
new_extra:
        lea msg(%rip), %rax
        ret
        .size new_extra, .-new_extra
        .type loadhook, @function
loadhook:
        lea __2M_rodata_start(%rip), %rax
        movb $1, 64(%rax)
        ret
        .size loadhook, .-loadhook
        .section .rodata.str, "a", @progbits
msg:    .asciz "-patched"
        .section .livepatch.hooks.load, "aw", @progbits
        .quad loadhook
        lpfunc xen_extra_version, new_extra, 8, 16, "aw"
