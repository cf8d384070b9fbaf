"""Payloads by hypervisors: every cell is one upload, and one verdict."""
