        .text
        .balign 16
        .type replacement, @function
replacement:
        mov $18, %eax
        ret
        call printk
site:
        ud2
        .size replacement, . - replacement
        .section .rodata.str, "aMS", @progbits, 1
file:
        .asciz "own/file.c"
        .section .bug_frames.2, "a", @progbits
        .balign 4
        .long site - . + 0x5c000000
        .long file - . + 0x0c000000
        .livepatch_func "xen_minor_version", replacement, 6
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
