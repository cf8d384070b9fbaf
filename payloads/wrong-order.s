# Last on, first off
#
# What a patch saved when it was applied may be the jump of the one below. Put back after that one is gone, the jump
# would lead nowhere. So only the patch on top can be reverted, and none that is applied can be unloaded.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! on: stack-base
#! expect: accepted
#! step: apply -> 0
#! step: revert stack-base -> 2 EBUSY
#! logs: stack-base: can't unload. Top is wrong-order
#! step: unload stack-base -> 1
#! step: revert -> 0
#! step: revert stack-base -> 0
#! step: unload stack-base -> 0

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        mov     $19, %eax
        ret
        .size replacement, . - replacement

        .livepatch_func "xen_minor_version", replacement, 6

        # "xsplice sample, base"
        .livepatch_depends 7873706c6963652073616d706c652c2062617365
        .livepatch_xen_depends xen
        .build_id sha1
