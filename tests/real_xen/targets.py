"""Symbols of Xen that generated payloads refer to."""

IDLE_FUNCTIONS = (
    "hvm_hap_nested_page_fault", "hvm_inject_event", "hvm_mov_to_cr", "hvm_task_switch", "hvm_set_cr0", "hvm_set_cr3",
    "hvm_set_cr4", "hvm_set_efer", "hvm_descriptor_access_intercept", "hvm_emulate_one", "hvm_monitor_debug",
    "hvm_debug_op", "nestedhvm_vcpu_initialise", "hvm_vcpu_reset_state", "hvm_copy_to_guest_linear",
    "hvm_triple_fault", "hvm_vmexit_cpuid", "hvm_rdtsc_intercept", "hvm_msr_read_intercept", "vioapic_init",
    "hpet_init", "pmtimer_init", "stdvga_init",
)  # fmt: skip
"""Functions that are not called without a guest that has hardware assistance, so that any code may replace them."""
DATA_SYMBOLS = ("system_state", "nr_irqs", "opt_hap_1gb", "hvm_funcs", "boot_cpu_data")
CODE_SYMBOLS = ("strlen", "memcpy", "printk", "xen_extra_version", "domain_crash", "xfree")
