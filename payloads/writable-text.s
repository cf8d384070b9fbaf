# Code that could be written to
#
# A loaded section is code, or variables, or constants. One that is both writable and executable belongs to
# none of the three regions. Xen refuses it without a word, unless it was built for debugging.
#
#! expect: refused EOPNOTSUPP placement

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        lea     .Lmessage(%rip), %rax
        ret
        .size replacement, . - replacement

        .section .rodata, "a", @progbits
.Lmessage:
        .asciz  "-patched"

        .section .text.writable, "awx", @progbits
        .zero   16, 0x90

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
