# A 32-bit distance to something far away
#
# The address is that of the first byte of Xen's direct map, 191 GiB above its text. `lea` has 32 bits for the
# distance, so no place in the payload range can reach it, and Xen refuses. `movabs`, which has 64, could.
#
#! expect: refused EOVERFLOW relocation
#! xen-message: Overflow in relocation 0 in .rela.text for .text

        .set    direct_map, 0xffff830000000000

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        lea     direct_map(%rip), %rax
        ret
        .size replacement, . - replacement

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
