# A function that nobody has
#
# A symbol without a section is looked for in Xen, then in the payloads already loaded. It is looked for
# before any relocation is done, so nothing is said about distances.
#
#! expect: refused ENOENT resolution
#! xen-message: Unknown symbol: no_such_function

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        call    no_such_function@PLT
        ret
        .size replacement, . - replacement

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
