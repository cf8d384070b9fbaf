# Bug frames of a hook that is run: line numbers of 14 bits are added to 24 bits of distance, which is negative to the
# instruction and positive to the file name.
        .text
        .type   replacement, @function
replacement:
        xor     %eax, %eax
        ret
        .size   replacement, . - replacement
hook:
        ud2
second:
        ud2
        ret
        .section .bug_frames.1, "a", @progbits
        .balign 4
frame:
        .long   hook - frame + 0x7f000000, file - frame + 0x7f000000
next:
        .long   second - next + 0x5c000000, file - next + 0x0c000000
        .section .rodata.zz, "a", @progbits
        .zero   5000
file:
        .asciz  "common/file.c"
        .livepatch_func "hvm_set_cr4", replacement, 16
        .livepatch_hook load, hook
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a2
