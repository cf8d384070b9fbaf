# An address where a distance should be
#
# `mov $.Lmessage` puts an absolute address into 32 bits, as compilers do for kernels that are linked at a fixed
# place. The loader takes three types only: R_X86_64_64, PC32 and PLT32. This is R_X86_64_32S, number 11.
# Compiled code avoids it with -fPIC or -fPIE.
#
#! expect: refused EOPNOTSUPP relocation
#! xen-message: Unhandled relocation 11

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        mov     $.Lmessage, %rax
        ret
        .size replacement, . - replacement

        .section .rodata, "a", @progbits
.Lmessage:
        .asciz  "-patched"

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
