# A revert hook that does not revert
#
# The patch is applied by Xen itself. Its revert hook says that it is done, and has neither restored the function nor
# taken its mark away; Xen stops the machine rather than forget about a function that still jumps into the patch.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect[--run-hooks]: accepted
#! step[--run-hooks]: apply -> 0
#! logs[--run-hooks]: action-hooks-norevert: Applying 1 functions
#! step[--run-hooks]: revert -> crash
#! logs[--run-hooks]: action-hooks-norevert: Calling revert action hook function
#! logs[--run-hooks]: action-hooks-norevert: Payload has a function: 'xen_extra_version' with inconsistent applied state.

        .text
        .balign 16
        .type revert_hook, @function
revert_hook:
        xor     %eax, %eax
        ret
        .size revert_hook, . - revert_hook

        .livepatch_hook revert, revert_hook

        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        lea     .Lreplacement(%rip), %rax
        ret
        .size replacement, . - replacement

        .section .rodata.str, "aMS", @progbits, 1
.Lreplacement:
        .asciz  "-patched"

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
