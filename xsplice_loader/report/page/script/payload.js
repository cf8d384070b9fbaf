// One upload: its columns, and what becomes of every relocation at any base.

const ARRAYS = {
  u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, u8: BigUint64Array,
  i1: Int8Array, i2: Int16Array, i4: Int32Array, i8: BigInt64Array,
};
const MOVES = 1, USABLE = 2, ABSOLUTE = 4, UNPLACED = 8, ASSUMED = 16;
const NEVER = 0, BY_BASE = 1, CONSTANT = 2;

function column({ kind, bytes }) {
  const raw = Uint8Array.from(atob(bytes), (char) => char.charCodeAt(0));
  return new ARRAYS[kind](raw.buffer);
}

/** How many numbers of an ascending array are below a limit. */
function countBelow(sorted, limit) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < limit) low = middle + 1; else high = middle;
  }
  return low;
}

class Payload {
  constructor(entry, trace) {
    this.entry = entry;
    this.trace = trace;
    this.wasPlaced = trace.base !== undefined;
    if (!this.wasPlaced) return;
    this.base = BigInt(trace.base);
    this.size = BigInt(trace.pages) * PAGE;
    const { relocations } = trace;
    this.count = relocations.count;
    this.types = relocations.types;
    this.symbols = {
      names: relocations.symbols.names, values: column(relocations.symbols.values), flags: column(relocations.symbols.flags),
    };
    for (const name of ["offset", "type", "symbol", "addend", "stored"]) this[name] = column(relocations[name]);
    let first = 0;
    this.groups = relocations.groups.map((group) => {
      const placed = { ...group, first, start: BigInt(group.offset) };
      first += group.count;
      return placed;
    });
    this.instructions = new Map(trace.instructions.map(([row, offset, bytes, before, after]) =>
      [row, { offset: BigInt(offset), bytes: fromHex(bytes), before, after }]));
    this.measureReach();
  }

  /**
   * Work out, once, what each distance depends on. To something that moves with the payload it is constant. To
   * something that does not it is `key - base`, so that one sorted array of keys answers for every base.
   */
  measureReach() {
    this.kind = new Uint8Array(this.count);
    this.key = new BigUint64Array(this.count);
    let constant = 0, fixed = 0;
    for (const group of this.groups) {
      const size = BigInt(group.size);
      for (let row = group.first; row < group.first + group.count; row += 1) {
        const type = this.types[this.type[row]], flags = this.symbols.flags[this.symbol[row]];
        const offset = BigInt(this.offset[row]);
        if (!type.relative || !type.applied || !(flags & USABLE) || offset + 4n > size) continue;
        const key = this.symbols.values[this.symbol[row]] + BigInt(this.addend[row]) - offset - group.start;
        this.key[row] = key;
        this.kind[row] = flags & MOVES ? CONSTANT : BY_BASE;
        if (!(flags & MOVES)) fixed += 1;
        else if (!fits32(signed(key - this.base))) constant += 1;
      }
    }
    this.constantOverflows = constant;
    this.sorted = new BigUint64Array(fixed);
    let next = 0;
    for (let row = 0; row < this.count; row += 1) if (this.kind[row] === BY_BASE) this.sorted[next++] = this.key[row];
    this.sorted.sort();
  }

  /** How many relocations do not fit with the payload at a base. */
  overflowsAt(base) {
    const low = wrap(base - REACH), high = wrap(base + REACH);
    const below = countBelow(this.sorted, low), past = countBelow(this.sorted, high);
    const fitting = low < high ? past - below : past + this.sorted.length - below;
    return this.constantOverflows + this.sorted.length - fitting;
  }

  overflows(row, base) {
    if (this.kind[row] === NEVER) return false;
    return !fits32(signed(this.key[row] - (this.kind[row] === CONSTANT ? this.base : base)));
  }

  groupOf(row) {
    return this.groups.find((group) => row < group.first + group.count);
  }

  /** Everything about one relocation with the payload at a base. */
  at(row, base) {
    const group = this.groupOf(row), type = this.types[this.type[row]], number = this.symbol[row];
    const flags = this.symbols.flags[number], offset = BigInt(this.offset[row]), A = BigInt(this.addend[row]);
    const moves = Boolean(flags & MOVES), usable = Boolean(flags & USABLE);
    const S = wrap(this.symbols.values[number] + (moves ? base - this.base : 0n));
    const P = wrap(base + group.start + offset);
    const width = type.width / 8, inside = offset + BigInt(width) <= BigInt(group.size);
    const counts = type.applied && usable && inside && width > 0;
    const value = counts ? signed(type.relative ? S + A - P : S + A) : null;
    return {
      row, group, type, offset, S, A, P, moves, usable, inside, width, value, flags,
      index: row - group.first,
      symbol: this.symbols.names[number],
      overflows: this.overflows(row, base),
      stored: this.stored[row],
      instruction: this.instructions.get(row) ?? null,
    };
  }

  /** The jumps with the payload at a base: how many Xen refuses for their distance, and how many wrap unnoticed. */
  jumpsAt(base) {
    let refused = 0, wrapping = 0;
    for (const jump of this.functionsAt(base)) {
      if (!jump.newAddr) continue;
      if (this.trace.checks_distance && !fits32(signed(jump.oldAddr - jump.newAddr))) refused += 1;
      else if (!fits32(jump.displacement)) wrapping += 1;
    }
    return { refused, wrapping };
  }

  functionsAt(base) {
    return (this.trace.functions ?? []).map((entry) => {
      const oldAddr = this.moved(BigInt(entry.old_addr), base), newAddr = this.moved(BigInt(entry.new_addr), base);
      const displacement = signed(newAddr - (oldAddr + BigInt(entry.patch_offset) + 5n));
      return { ...entry, oldAddr, newAddr, displacement };
    });
  }

  /** Where something lies when the payload stands at another base. */
  moved(address, base) {
    return address >= this.base && address < this.base + this.size ? wrap(address + base - this.base) : address;
  }

  /** The relocation to begin with: one that does not fit, else one that leads out of the payload. */
  firstOfInterest() {
    for (let row = 0; row < this.count; row += 1) if (this.overflows(row, this.base)) return row;
    const leaving = this.kind.indexOf(BY_BASE);
    return leaving >= 0 ? leaving : 0;
  }
}
