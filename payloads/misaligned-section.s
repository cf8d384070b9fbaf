# An alignment that is none
#
# Alignments are powers of two, and the arithmetic of placement relies on it. Since 4.10 the section table
# is tested for it; no assembler writes such a file, so this one was changed afterwards.
#
#! damage: section .text addralign 3
#! expect: refused EOPNOTSUPP sections
#! xen-message: Section [1] alignment (0x3) is not supported

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

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
