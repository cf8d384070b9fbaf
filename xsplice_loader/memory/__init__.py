"""Where things stand: pages, permissions, the areas of Xen's address space, and the allocators of addresses."""
