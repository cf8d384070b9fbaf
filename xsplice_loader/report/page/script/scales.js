// From addresses to places on a line and back. A scale has `to(address)`, from 0 to 1, and `from(place)`.

class LinearScale {
  constructor(low, high) { this.low = low; this.high = high; }
  to(address) { return Number(address - this.low) / Number(this.high - this.low); }
  from(place) { return this.low + BigInt(Math.round(place * Number(this.high - this.low))); }
  ticks(most) {
    const span = Number(this.high - this.low);
    const step = 2n ** BigInt(Math.max(12, Math.ceil(Math.log2(span / most))));
    const found = [];
    for (let at = (this.low / step + 1n) * step; at < this.high; at += step) found.push([at, hex(at)]);
    return found;
  }
}

/** Distance from a centre, each doubling the same length, to both sides; within a MiB of it nearly linear. */
class LogScale {
  constructor(centre, low, high) {
    this.centre = centre; this.low = low; this.high = high;
    this.start = this.bend(low); this.span = this.bend(high) - this.start;
  }
  bend(address) {
    const away = Number(address - this.centre);
    return Math.sign(away) * Math.log2(1 + Math.abs(away) / 2 ** 20);
  }
  to(address) { return (this.bend(address) - this.start) / this.span; }
  from(place) {
    const bent = place * this.span + this.start;
    return this.centre + BigInt(Math.round(Math.sign(bent) * (2 ** Math.abs(bent) - 1) * 2 ** 20));
  }
  ticks() {
    const steps = [[1n << 25n, "32 MiB"], [1n << 30n, "1 GiB"], [1n << 35n, "32 GiB"], [1n << 40n, "1 TiB"], [1n << 45n, "32 TiB"]];
    const found = [[this.centre, "Xen’s code"]];
    for (const [step, name] of steps) {
      if (this.centre - step >= this.low) found.unshift([this.centre - step, "−" + name]);
      if (this.centre + step <= this.high) found.push([this.centre + step, "+" + name]);
    }
    return found;
  }
}
