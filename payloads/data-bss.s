# A patch with variables of its own
#
# .data and .bss go to a region of their own, behind the code, that is writable and never executable; what
# .bss holds is zero. Such a patch cannot be applied a second time after a revert, for nobody knows what its
# variables hold by then.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect: accepted
#! step: apply -> 0
#! step: revert -> 0
#! step: apply -> 1 EINVAL
#! logs: data-bss: can't revert as payload has .data. Please unload
#! step: unload -> 0

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        lock incl calls(%rip)
        mov     calls(%rip), %eax
        mov     %eax, last_call(%rip)
        lea     .Lmessage(%rip), %rax
        ret
        .size replacement, . - replacement

        .section .rodata, "a", @progbits
.Lmessage:
        .asciz  "-patched"

        .data
        .balign 64
        .type   calls, @object
calls:
        .long   1
        .size   calls, 4
        .quad   replacement

        .bss
        .balign 4096
        .type   last_call, @object
last_call:
        .zero   5000
        .size   last_call, 5000

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
