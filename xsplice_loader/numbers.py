"""Numbers as a processor and as a person sees them."""

from __future__ import annotations

INT32 = (-(1 << 31), 1 << 31)
"""What a signed 32-bit field holds, half open."""
_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def signed(value: int, bits: int = 64) -> int:
    """Read the low `bits` bits of `value` as a two's-complement number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def signed_bits(value: int) -> int:
    """Return how many bits a two's-complement number needs."""
    return (value if value >= 0 else ~value).bit_length() + 1


def overrun(value: int, low: int, high: int) -> int:
    """Return by how much `value` lies outside `[low, high)`: 0 inside, 1 for the first value that does not fit."""
    return max(low - value, value - (high - 1), 0)


def size_text(size: int) -> str:
    """Return a distance in bytes as a person would say it: `12 bytes`, `1.4 GiB`, `125.2 TiB`."""
    size = abs(size)
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return bytes_text(size)


def bytes_text(size: int) -> str:
    """Return an exact number of bytes: `1 byte`, `4096 bytes`."""
    return f"{size} byte{'' if size == 1 else 's'}"
