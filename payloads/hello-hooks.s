# A patch with a function to be called before and one after
#
# Load hooks are called while a patch is applied, just before functions are replaced, and unload hooks after they
# were restored; they take no argument and return nothing. What the patch says of itself in .modinfo is printed when
# it is applied, and shown in the list of patches.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect: accepted
#! step: apply -> 0
#! step: revert -> 0
#! step: apply -> 0
#
#! expect[--run-hooks]: accepted
#! step[--run-hooks]: apply -> 0
#! logs[--run-hooks]: hello-hooks: Applying 1 functions
#! logs[--run-hooks]: hello: load hook
#! logs[--run-hooks]: module metadata:
#! logs[--run-hooks]: name=hello-hooks
#! logs[--run-hooks]: hello-hooks finished APPLY with rc=0
#! step[--run-hooks]: revert -> 0
#! logs[--run-hooks]: hello-hooks: Reverting
#! logs[--run-hooks]: hello: unload hook
#! logs[--run-hooks]: hello-hooks finished REVERT with rc=0
#! step[--run-hooks]: apply -> 0
#! step[--run-hooks]: revert -> 0
#! step[--run-hooks]: unload -> 0

        .text
        .balign 16
        .type hello_load_hook, @function
hello_load_hook:
        lea     .Lload(%rip), %rdi
        jmp     hello_say
        .size hello_load_hook, . - hello_load_hook

        .type hello_unload_hook, @function
hello_unload_hook:
        lea     .Lunload(%rip), %rdi
        jmp     hello_say
        .size hello_unload_hook, . - hello_unload_hook

        # void hello_say(const char *format, const char *argument)
        .type hello_say, @function
hello_say:
        sub     $8, %rsp
        xor     %eax, %eax
        call    printk@PLT
        add     $8, %rsp
        ret
        .size hello_say, . - hello_say

        .section .rodata.str, "aMS", @progbits, 1
.Lload:
        .asciz  "hello: load hook\n"
.Lunload:
        .asciz  "hello: unload hook\n"

        .livepatch_hook load, hello_load_hook
        .livepatch_hook unload, hello_unload_hook
        .modinfo "name=hello-hooks"
        .modinfo "license=GPLv2"

        .text

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
