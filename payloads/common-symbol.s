# A variable that waits for a linker
#
# A common symbol has a size but no section: a linker would give it a place in .bss. There is no linker here.
# Compilers do this with -fcommon; `ld -r -d` or -fno-common help.
#
#! expect: refused EINVAL resolution
#! xen-message: Unexpected common symbol: counter

        .comm   counter, 8, 8

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        lea     counter(%rip), %rax
        ret
        .size replacement, . - replacement

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
