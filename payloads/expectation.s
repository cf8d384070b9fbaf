# A patch that says what it expects
#
# Since 4.14 an entry can name up to 31 bytes that must stand at the old address when the patch is applied. Here
# it is the whole old function: mov $17, %eax; ret. Once it is applied its own jump stands there.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect: accepted
#! step: apply -> 0
#! logs: expectation: Verifying enabled expectations for all functions
#! logs: expectation: Applying 1 functions
#! step: revert -> 0
#! bytes: xen_minor_version b811000000c3
#! step: apply -> 0

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        mov     $18, %eax
        ret
        .size replacement, . - replacement

        .livepatch_func "xen_minor_version", replacement, 6
        .livepatch_expect b811000000c3

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
