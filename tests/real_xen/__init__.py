"""The real hypervisor beside this program: Debian's Xen, booted in an emulator, does what the program foretells."""
