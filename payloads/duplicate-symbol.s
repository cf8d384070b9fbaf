# A name that Xen has already
#
# Later patches may refer to the functions of this one, so its names go into one table with those of Xen. The
# new function itself may be called like the old one; a bystander may not.
#
#! expect: refused EEXIST symbol-table
#! xen-message: duplicate new symbol: do_xen_version

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        lea     .Lmessage(%rip), %rax
        ret
        .size replacement, . - replacement

        .text
        .balign 16
        .globl do_xen_version
        .type do_xen_version, @function
do_xen_version:
        xor     %eax, %eax
        ret
        .size do_xen_version, . - do_xen_version

        .section .rodata, "a", @progbits
.Lmessage:
        .asciz  "-patched"

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
