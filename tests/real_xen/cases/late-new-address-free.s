# An alternative moves the address of the new function to where strlen is: by then the name is that of a new function.

        .text
        .type   strlen, @function
strlen: xor     %eax, %eax
        ret
        .size   strlen, . - strlen
.Lother:
        ret
        .section .rodata.name, "a", @progbits
.Lname: .asciz  "xen_extra_version"
        .section .livepatch.funcs, "ax", @progbits
        .quad   .Lname
        .xen_alternative ".quad .Lother", ".quad strlen", 2*32+29
        .quad   hvm_gsi_assert
        .long   1, 64
        .byte   2
        .zero   71
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
