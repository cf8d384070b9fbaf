# Two functions in one patch
#
# Both are replaced at one moment, while all processors wait: nobody sees the one without the other. Old
# functions of 6 bytes have just room for the jump of 5.
#
#! expect: accepted
#! step: apply -> 0
#! logs: two-functions: Applying 2 functions
#! step: revert -> 0
#! bytes: xen_major_version b804000000c3
#! bytes: xen_minor_version b811000000c3

        .text
        .balign 16
        .globl new_major_version
        .type new_major_version, @function
new_major_version:
        mov     $5, %eax
        ret
        .size new_major_version, . - new_major_version

        .text
        .balign 16
        .globl new_minor_version
        .type new_minor_version, @function
new_minor_version:
        call    new_major_version
        sub     $5, %eax
        ret
        .size new_minor_version, . - new_minor_version

        .livepatch_func "xen_major_version", new_major_version, 6
        .livepatch_func "xen_minor_version", new_minor_version, 6

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
