# The first of a stack whose hook changes its own build-id while it is applied.

        .text
        .type   .Lnew, @function
.Lnew:  xor     %eax, %eax
        ret
        .size   .Lnew, . - .Lnew
.Lhook: movl    $0x41414141, .Lid(%rip)
        ret
        .section .livepatch.hooks.load, "aw", @progbits
        .quad   .Lhook
        .livepatch_func "hvm_gsi_assert", .Lnew, 64
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .section .note.gnu.build-id, "aw", @note
        .long   4, 4, 3
        .asciz  "GNU"
.Lid:   .byte   0x61, 0x62, 0x63, 0x64
