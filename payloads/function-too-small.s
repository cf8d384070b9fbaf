# No room for the jump
#
# The jump to the new function takes 5 bytes. An old function that begins with endbr64 keeps those 4 bytes, so
# 9 are needed; this one is said to have 8. Up to 4.14.4 nobody looked for endbr64, and 8 were enough.
# The refusal has no text.
#
#! expect: refused EINVAL prepare
#! expect[4.14.0]: accepted
#! step[4.14.0]: apply -> 0

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        endbr64
        xor     %eax, %eax
        ret
        .size replacement, . - replacement

        .livepatch_func "do_nmi_op", replacement, 8

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
