# The overflow of March 2022: a symbol in an empty section
#
# An alternative whose replacement is nothing (only NOPs) names a place in .altinstr_replacement, and when all
# replacements are empty, so is that section. Releases from 4.8 up to 4.14.4 gave empty sections no address,
# but used the symbol as it stood in the file: 0. The distance from the payload to address 0 takes 48 bits.
# Since 4.14.5 (4.15.3, 4.16.1, 4.17.0) empty sections have an address again, and this loads.
#
#! expect[4.17.7]: accepted
#! bytes[4.17.7]: site 0f1f00
#! step[4.17.7]: apply -> 0
#! expect[4.14.0]: refused EOVERFLOW relocation
#! xen-message[4.14.0]: Overflow in relocation 1 in .rela.altinstructions for .altinstructions

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        lea     .Lmessage(%rip), %rax
site:
        .byte   0x0f, 0x1f, 0x00
        ret
        .size replacement, . - replacement

        .section .rodata, "a", @progbits
.Lmessage:
        .asciz  "-patched"

        .section .altinstr_replacement, "ax", @progbits
nothing:

        # One entry: where, by what, from which processor feature on, how many bytes there and here.
        # Feature 93 is the one that every processor has, so the 3 bytes do become another NOP.
        .section .altinstructions, "a", @progbits
        .long   site - .
        .long   nothing - .
        .short  93
        .byte   3, 0, 0, 0

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
