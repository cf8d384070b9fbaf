# The model hypervisor: a few functions where a real Xen 4.17 has its text.
#
# It is no Xen. It has what a payload needs to be loaded against: functions to replace, functions and
# variables to refer to, names with and without a file in front, one function that begins with endbr64,
# and an end of data behind which payloads go. Every function runs: none needs more than a stack.
# Arguments and results are those of the System V ABI.

        .file "arch/x86/boot/head.S"
        .text
        .globl _start, _stext, start
        .type _start, @function
        .type _stext, @function
        .type start, @function
_start:
_stext:
start:
        lea     boot_stack_end(%rip), %rsp
        movl    $1, system_state(%rip)
        call    console_init
        lea     .Lbanner(%rip), %rdi
        call    printk
        movl    $3, system_state(%rip)
        # Nothing is left to do: a hypervisor without guests sleeps.
1:      hlt
        jmp     1b
.Lstart_end:
        .size _start, .Lstart_end - _start
        .size _stext, .Lstart_end - _stext
        .size start, .Lstart_end - start

        .section .rodata, "a", @progbits
.Lbanner:
        .asciz  "xsplice model hypervisor\n"

        .bss
        .balign 16
        .type boot_stack, @object
boot_stack:
        .zero   1024
        .size boot_stack, 1024
boot_stack_end:
        .type boot_stack_end, @object
        .zero   8
        .size boot_stack_end, 8

# Version ---------------------------------------------------------------------------------------------

        .file "common/version.c"
        .text
        .balign 16
        .globl xen_major_version
        .type xen_major_version, @function
xen_major_version:
        mov     $4, %eax
        ret
        .size xen_major_version, . - xen_major_version

        .balign 16
        .globl xen_minor_version
        .type xen_minor_version, @function
xen_minor_version:
        mov     $17, %eax
        ret
        .size xen_minor_version, . - xen_minor_version

        .balign 16
        .globl xen_extra_version
        .type xen_extra_version, @function
xen_extra_version:
        lea     extra_version(%rip), %rax
        ret
        # Room for a 5-byte jump, and for the 9 bytes that one behind endbr64 would need.
        .zero   8, 0x90
        .size xen_extra_version, . - xen_extra_version

        .section .rodata, "a", @progbits
        .type extra_version, @object
extra_version:
        .asciz  ".7"
        .size extra_version, . - extra_version

# Strings ---------------------------------------------------------------------------------------------

        .file "lib/string.c"
        .text
        .balign 16
        .globl strlen
        .type strlen, @function
strlen:
        xor     %eax, %eax
1:      cmpb    $0, (%rdi,%rax)
        je      2f
        add     $1, %rax
        jmp     1b
2:      ret
        .size strlen, . - strlen

        .balign 16
        .globl memcpy
        .type memcpy, @function
memcpy:
        mov     %rdi, %rax
        mov     %rdx, %rcx
        rep movsb
        ret
        .size memcpy, . - memcpy

        .balign 16
        .globl memset
        .type memset, @function
memset:
        mov     %rdi, %r8
        mov     %esi, %eax
        mov     %rdx, %rcx
        rep stosb
        mov     %r8, %rax
        ret
        .size memset, . - memset

# Console: what printk is given goes to the end of a buffer, which starts again when it is full. --------

        .file "drivers/char/console.c"
        .text
        .balign 16
        .type console_init, @function
console_init:
        movq    $0, console_length(%rip)
        ret
        .size console_init, . - console_init

        # void console_append(const char *text, size_t length)
        .balign 16
        .type console_append, @function
console_append:
        mov     %rsi, %rcx
        mov     console_length(%rip), %rax
        lea     (%rax,%rcx), %rdx
        cmp     $256, %rdx
        jbe     1f
        xor     %eax, %eax
        cmp     $256, %rcx
        jbe     1f
        mov     $256, %ecx
1:      lea     (%rax,%rcx), %rdx
        mov     %rdx, console_length(%rip)
        mov     %rdi, %rsi
        lea     console_buffer(%rip), %rdi
        add     %rax, %rdi
        rep movsb
        ret
        .size console_append, . - console_append

        # int printk(const char *format, ...): the format as it stands; returns its length.
        .balign 16
        .globl printk
        .type printk, @function
printk:
        push    %rbx
        push    %rbp
        sub     $8, %rsp
        mov     %rdi, %rbx
        call    strlen
        mov     %rax, %rbp
        mov     %rbx, %rdi
        mov     %rax, %rsi
        call    console_append
        mov     %ebp, %eax
        add     $8, %rsp
        pop     %rbp
        pop     %rbx
        ret
        .size printk, . - printk

        .bss
        .balign 16
        .type console_buffer, @object
console_buffer:
        .zero   256
        .size console_buffer, 256
        .type console_length, @object
console_length:
        .zero   8
        .size console_length, 8

# Kernel ----------------------------------------------------------------------------------------------

        .file "common/kernel.c"
        .text
        # Static, so its name in the symbol table of a hypervisor is common/kernel.c#pack_version.
        .balign 16
        .type pack_version, @function
pack_version:
        shl     $16, %edi
        mov     %edi, %eax
        or      %esi, %eax
        ret
        .size pack_version, . - pack_version

        # long do_xen_version(int command, void *buffer): 0 is the version, 1 copies the extra version.
        .balign 16
        .globl do_xen_version
        .type do_xen_version, @function
do_xen_version:
        push    %rbx
        push    %rbp
        sub     $8, %rsp
        mov     %rsi, %rbx
        test    %edi, %edi
        je      1f
        cmp     $1, %edi
        je      2f
        mov     $-38, %rax
        jmp     3f
1:      call    xen_major_version
        mov     %eax, %ebp
        call    xen_minor_version
        mov     %eax, %esi
        mov     %ebp, %edi
        call    pack_version
        jmp     3f
2:      call    xen_extra_version
        mov     %rax, %rbp
        mov     %rax, %rdi
        call    strlen
        lea     1(%rax), %rdx
        mov     %rbx, %rdi
        mov     %rbp, %rsi
        call    memcpy
        xor     %eax, %eax
3:      add     $8, %rsp
        pop     %rbp
        pop     %rbx
        ret
        .size do_xen_version, . - do_xen_version

        # Reached through pointers, so with CET it begins with a landing mark.
        .balign 16
        .globl do_nmi_op
        .type do_nmi_op, @function
do_nmi_op:
        endbr64
        lock incl nmi_count(%rip)
        mov     nmi_handler(%rip), %rax
        test    %rax, %rax
        je      1f
        jmp     *%rax
1:      mov     $-22, %rax
        ret
        .size do_nmi_op, . - do_nmi_op

        .balign 16
        .type default_nmi, @function
default_nmi:
        endbr64
        xor     %eax, %eax
        ret
        .size default_nmi, . - default_nmi

        .data
        .balign 8
        .globl nmi_handler
        .type nmi_handler, @object
nmi_handler:
        .quad   default_nmi
        .size nmi_handler, 8
        .globl nr_cpu_ids
        .type nr_cpu_ids, @object
nr_cpu_ids:
        .long   1
        .size nr_cpu_ids, 4

        .bss
        .balign 4
        .globl system_state
        .type system_state, @object
system_state:
        .zero   4
        .size system_state, 4
        .type nmi_count, @object
nmi_count:
        .zero   4
        .size nmi_count, 4

# Another file with static names of its own --------------------------------------------------------------

        .file "common/domain.c"
        .text
        .balign 16
        .globl domain_crash_count
        .type domain_crash_count, @function
domain_crash_count:
        sub     $8, %rsp
        mov     domains_crashed(%rip), %edi
        xor     %esi, %esi
        call    pack_domain
        add     $8, %rsp
        ret
        .size domain_crash_count, . - domain_crash_count

        .balign 16
        .type pack_domain, @function
pack_domain:
        lea     (%rdi,%rsi), %eax
        ret
        .size pack_domain, . - pack_domain

        .bss
        .balign 4
        .type domains_crashed, @object
domains_crashed:
        .zero   4
        .size domains_crashed, 4

# Where the image's parts end ---------------------------------------------------------------------------

        .text
        .globl _etext
_etext:
        .bss
        .globl _end
_end:
        .balign 4096
        .globl __2M_rwdata_end
__2M_rwdata_end:
