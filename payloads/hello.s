# The smallest patch that does everything a patch does
#
# It replaces xen_extra_version, so that Xen reports another version; on the way it calls a function of Xen,
# reads a variable of Xen and points at a text of its own. Every one of those is a 32-bit distance. In the
# range that Xen keeps for payloads, behind its own image, all of them fit. In the ordinary vmap area,
# 65 GiB below, the first one that leads to Xen does not: that is why the range exists.
#
#! expect: accepted
#! expect[--vmap default]: refused EOVERFLOW relocation
#! xen-message[--vmap default]: Overflow in relocation 1 in .rela.text for .text
#
# Applied, it puts a jump over the first five bytes of the old function; reverted, it puts them back.
#
#! step: apply -> 0
#! logs: hello: Applying 1 functions
#! logs: hello finished APPLY with rc=0
#! bytes: xen_extra_version e99bcf0000
#! step: revert -> 0
#! bytes: xen_extra_version 488d05
#! step: apply -> 0
#! step: revert -> 0
#! step: unload -> 0

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        sub     $8, %rsp
        lea     .Lmessage(%rip), %rdi
        call    strlen@PLT
        cmpl    $0, system_state(%rip)
        lea     .Lmessage(%rip), %rax
        add     $8, %rsp
        ret
        .size replacement, . - replacement

        .section .rodata, "a", @progbits
.Lmessage:
        .asciz  "-patched"

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
