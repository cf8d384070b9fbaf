"""Symbols to addresses, relocations to bytes, and why a displacement does not fit."""
