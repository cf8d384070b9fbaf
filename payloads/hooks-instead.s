# A patch of data
#
# An apply hook and a revert hook stand in the place of Xen's own routines, so a patch can consist of nothing
# else: this one has no function to replace. It exchanges a pointer in Xen's data, and keeps the old one to put
# it back. That makes a variable of its own, so it cannot be applied a second time.
# Where hooks are not run, nothing happens to the pointer.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect: accepted
#! step: apply -> 0
#! logs: hooks-instead: Calling apply action hook function
#! bytes: nmi_handler f0012040d082ffff
#! step: revert -> 0
#! logs: hooks-instead: Calling revert action hook function
#
#! expect[4.17.7 --run-hooks]: accepted
#! step[4.17.7 --run-hooks]: apply -> 0
#! bytes[4.17.7 --run-hooks]: nmi_handler 00d02040d082ffff
#! step[4.17.7 --run-hooks]: revert -> 0
#! bytes[4.17.7 --run-hooks]: nmi_handler f0012040d082ffff
#! step[4.17.7 --run-hooks]: apply -> 1 EINVAL

        .text
        .balign 16
        .type better_handler, @function
better_handler:
        endbr64
        mov     $1, %eax
        ret
        .size better_handler, . - better_handler

        .type install, @function
install:
        mov     nmi_handler(%rip), %rax
        mov     %rax, previous_handler(%rip)
        lea     better_handler(%rip), %rax
        mov     %rax, nmi_handler(%rip)
        xor     %eax, %eax
        ret
        .size install, . - install

        .type remove, @function
remove:
        mov     previous_handler(%rip), %rax
        mov     %rax, nmi_handler(%rip)
        xor     %eax, %eax
        ret
        .size remove, . - remove

        .bss
        .balign 8
        .type previous_handler, @object
previous_handler:
        .zero   8
        .size previous_handler, 8

        .livepatch_hook apply, install
        .livepatch_hook revert, remove

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
