# A relocation that names no symbol
#
# Symbol 0 is the null symbol. Assemblers use it when they know an address as a number, and linkers take it;
# Xen has refused it since it was found to read a slot that nobody had filled.
#
#! damage: rela .rela.text 0 symbol 0
#! expect: refused EOPNOTSUPP relocation
#! xen-message: Encountered STN_UNDEF

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
