/* What the patch stands on: the build-id of the hypervisor, as two notes. The linker makes the patch's own. */

.macro build_id section
        .section \section, "a", @note
        .balign 4
        .long   4, 2f - 1f, 3
        .asciz  "GNU"
1:      .byte   XEN_BUILD_ID
2:
.endm

        build_id .livepatch.depends
        build_id .livepatch.xen_depends

        .section .note.GNU-stack, "", @progbits
