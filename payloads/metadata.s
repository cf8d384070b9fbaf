# A patch that introduces itself
#
# .modinfo holds texts for people, each with a NUL behind it. Since 4.14 Xen prints them when the patch is
# applied, and `xen-livepatch list` shows them.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect: accepted
#! step: apply -> 0
#! logs: metadata: Applying 1 functions
#! logs: module metadata:
#! logs: fixes=a wrong minor version
#! logs: author=a reader of this file
#! logs: metadata finished APPLY with rc=0

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        mov     $18, %eax
        ret
        .size replacement, . - replacement

        .modinfo "fixes=a wrong minor version"
        .modinfo "author=a reader of this file"

        .livepatch_func "xen_minor_version", replacement, 6

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
