# A hook that reads one word of its argument, whatever it is, and then refuses (Xen commits 3bafe4a060, 8313c864fa; every
# hook of Xen's own xen/test/livepatch/xen_action_hooks*.c and xen_prepost_hooks*.c reads the structure).
        .include "common.inc"
        .globl new_extra
        .type new_extra, @function
new_extra:
        lea .Lmsg(%rip), %rax
        ret
        .size new_extra, .-new_extra
        .type pre, @function
pre:
        mov 4(%rdi), %edx       # payload->rc: at offset 4 in every release
        mov $-22, %eax
        ret
        .size pre, .-pre
        .section .rodata.str, "a", @progbits
.Lmsg:  .asciz "-patched"
        .section .livepatch.hooks.preapply, "a", @progbits
        .quad pre
        lpfunc xen_extra_version, new_extra, 8, 16
