"""Xen's live-patch payload loader in user space."""
