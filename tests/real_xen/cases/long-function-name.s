# A name that Xen's buffer for one line does not hold: the rest is lost, and the line's end with it.

        .text
        .type   .Lnew, @function
.Lnew:  xor     %eax, %eax
        ret
        .size   .Lnew, . - .Lnew
        .section .rodata.name, "a", @progbits
.Lname:
        .ascii  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        .ascii  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        .ascii  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        .ascii  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        .ascii  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        .ascii  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        .ascii  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        .ascii  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        .ascii  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        .ascii  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        .ascii  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        .byte   0
        .section .livepatch.funcs, "aw", @progbits
        .quad   .Lname, .Lnew, hvm_gsi_assert
        .long   3, 64
        .byte   2
        .zero   71
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
