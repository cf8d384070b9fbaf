// One relocation: the sum, the bits, the reach, the instruction.

function relocationDetail(one, areas) {
  if (one === null) return [h("p", { class: "quiet-words" }, "Nothing in the list to show.")];
  return [
    h("h3", { class: "detail-title" }, h("code", {}, one.symbol || "(no name)"), h("span", { class: one.overflows ? "tag bad" : "tag good" }, outcome(one))),
    h("p", { class: "small" }, `Relocation ${one.index} of ${one.group.relocations}, ${one.type.name}: ${one.type.formula || "not known"}`),
    one.value === null ? h("p", {}, whyNothing(one)) : [sum(one, areas), one.width === 4 ? [bits(one), reach(one, areas)] : wide(one)],
    instruction(one),
  ].flat(3).filter(Boolean);
}

function outcome(one) {
  if (one.overflows) return "does not fit";
  if (one.value === null) return one.type.applied && !one.type.width ? "nothing to do" : "not applied";
  return "fits";
}

function whyNothing(one) {
  if (!one.type.applied) return `Xen does not apply relocations of this type. They come from ${one.type.emitted_by || "tools it does not know"}.`;
  if (!one.usable) return "Its symbol has no address that could be used.";
  if (!one.inside) return "Its gap does not lie within the section.";
  return "A relocation of this type stores nothing.";
}

function sum(one, areas) {
  const negative = one.A < 0n;
  const rows = [
    ["S", "s", hex(one.S), `${where(one)}, in ${areaText(areas, one.S)}${one.moves ? "; moves with the payload" : "; stays where it is"}`],
    [negative ? "− A" : "+ A", "a", distance(one.A).toString(), addendText(one)],
  ];
  if (one.type.relative) rows.push(["− P", "p", hex(one.P), `the gap itself, in ${areaText(areas, one.P)}`]);
  return h("div", { class: "sum", role: "table", "aria-label": "The sum" },
    rows.map(([sign, letter, number, note]) => h("div", { role: "row" }, h("b", { class: `letter ${letter}`, role: "rowheader" }, sign), h("code", { role: "cell" }, number), h("span", { role: "cell" }, note))),
    h("div", { class: "total", role: "row" }, h("b", { role: "rowheader" }, "="), h("code", { role: "cell" }, one.type.relative ? signedHex(one.value) : hex(one.value)),
      h("span", { role: "cell" }, one.type.relative ? `${sizeText(one.value)} ${one.value < 0n ? "down" : "up"}` : "an address, stored whole")));
}

const where = (one) => (one.flags & ABSOLUTE ? "an absolute symbol" : one.flags & UNPLACED ? "never placed: the raw value" : one.flags & ASSUMED ? "assumed" : one.moves ? "in this payload" : "found by name");

function addendText(one) {
  if (!one.type.relative) return "added to the address";
  return one.A === -4n ? "the processor counts from the end of the gap, 4 bytes further on" : "written down by the compiler";
}

function areaText(areas, address) {
  const area = areaOf(areas, address);
  return area === null ? "no named area" : AREA_WORDS[area.name] ?? `the ${area.name}`;
}

function bits(one) {
  const value = wrap(one.value), sign = (value >> 31n) & 1n;
  const cell = (bit) => {
    const set = (value >> BigInt(bit)) & 1n;
    const lost = bit > 31 && set !== sign;
    return h("span", { class: ["bit", bit > 31 && "upper", bit === 31 && "sign", lost && "lost", set && "set", bit % 8 === 7 && "byte"].filter(Boolean).join(" ") }, String(set));
  };
  const half = (from) => Array.from({ length: 32 }, (_, index) => cell(from - index));
  const text = value.toString(2).padStart(64, "0");
  return h("figure", { class: "bits" },
    h("div", { role: "img", "aria-label": `64 bits. Upper half, thrown away: ${text.slice(0, 32)}. Lower half, stored: ${text.slice(32)}.` },
      h("p", { class: "bits-name", "aria-hidden": "true" }, "bits 63 to 32, thrown away"), h("div", { class: "bit-row", "aria-hidden": "true" }, half(63)),
      h("p", { class: "bits-name", "aria-hidden": "true" }, "bits 31 to 0, stored; bit 31 is the sign"), h("div", { class: "bit-row", "aria-hidden": "true" }, half(31))),
    h("figcaption", {}, one.overflows
      ? `The processor fills the upper half again with copies of bit 31, which is ${sign}. ${lostWords(lostBits(value, sign))}, so it would get another number back.`
      : `The processor fills the upper half again with copies of bit 31, which is ${sign}. They were all ${sign} before: nothing is lost.`));
}

const lostWords = (count) => (count === 1 ? "The marked bit was different" : `The ${count} marked bits were different`);

function lostBits(value, sign) {
  return [...(value >> 32n).toString(2).padStart(32, "0")].filter((bit) => bit !== String(sign)).length;
}

function reach(one, areas) {
  const lands = wrap(one.S + signed32(one.value) - one.value);
  const frame = h("div", { class: "drawing reach-frame" });
  const words = one.overflows
    ? [`${sizeText(one.value)} ${one.value < 0n ? "down" : "up"} is ${sizeText(overrunOf(one.value))} too far. Cut to 32 bits, the way would lead to `, h("code", {}, hex(lands)),
      `, in ${areaText(areas, lands)}, instead of `, h("code", {}, hex(one.S)), ". Nobody would notice until it runs. So Xen refuses."]
    : [`The way is ${sizeText(one.value)} ${one.value < 0n ? "down" : "up"}. 2 GiB would be allowed.`];
  drawToFit(frame, (width) => reachBar(width, one, lands))();
  return h("figure", { class: "reach" }, frame, h("figcaption", {}, words));
}

function overrunOf(value) {
  return value < -REACH ? -REACH - value : value - (REACH - 1n);
}

function reachBar(width, one, lands) {
  const out = one.overflows, left = out && one.value < 0n, right = out && !left;
  const margin = 14, room = Math.min(110, width * 0.26);
  const from = margin + (left ? room : 0), to = width - margin - (right ? room : 0), middle = (from + to) / 2;
  const at = (value) => middle + (Number(value) / Number(REACH)) * (to - from) / 2;
  const y = 34;
  const parts = [
    s("rect", { class: "reach-bar", x: from, y: y - 9, width: to - from, height: 18, rx: 9 }),
    s("line", { class: "reach-centre", x1: middle, x2: middle, y1: y - 14, y2: y + 14 }),
    s("text", { class: "letter-text p", x: middle, y: y - 19, "text-anchor": "middle" }, "P"),
    s("text", { x: from, y: y + 28, "text-anchor": "start" }, "−2 GiB"),
    s("text", { x: to, y: y + 28, "text-anchor": "end" }, "+2 GiB"),
  ];
  if (out) {
    const end = left ? margin : width - margin, tip = left ? 7 : -7;
    parts.push(
      s("path", { class: "reach-gap", d: `M${left ? from : to} ${y}H${end}` }),
      s("path", { class: "reach-arrow", d: `M${end + tip} ${y - 5}L${end} ${y}L${end + tip} ${y + 5}` }),
      s("text", { class: "letter-text bad", x: left ? margin + 2 : width - margin - 2, y: y - 19, "text-anchor": left ? "start" : "end" }, "S"),
      s("text", { class: "bad", x: left ? margin : width - margin, y: y + 28, "text-anchor": left ? "start" : "end" }, sizeText(one.value)));
    const landing = at(signed(lands - one.P));
    parts.push(s("circle", { class: "reach-lands", cx: landing, cy: y, r: 5 }),
      s("text", { x: Math.min(Math.max(landing, from + 50), to - 50), y: y + 46, "text-anchor": "middle" }, "where it would lead"));
  } else {
    parts.push(s("circle", { class: "reach-target", cx: at(one.value), cy: y, r: 6 }),
      s("text", { class: "letter-text s", x: at(one.value) + (Math.abs(at(one.value) - middle) < 14 ? 16 : 0), y: y - 19, "text-anchor": "middle" }, "S"));
  }
  return s("svg", { width, height: out ? 86 : 70, role: "img", "aria-label": out ? `The target lies outside the reach of 2 GiB, ${sizeText(one.value)} ${left ? "down" : "up"}` : "The target lies within the reach of 2 GiB" }, parts);
}

function wide(one) {
  return h("p", {}, "This gap has room for all 64 bits, so any address fits it. Nothing can overflow.");
}

function instruction(one) {
  const { instruction: found } = one;
  const after = one.value === null ? null : bytesOf(one.value, one.width);
  if (found === null) {
    return [h("h4", {}, "The bytes"), byteLines(bytesOf(BigInt(one.stored), one.width || 4), after ?? bytesOf(BigInt(one.stored), 4), 0, one.width || 4, one),
      h("p", { class: "small" }, one.group.executable ? "This instruction was not disassembled: this page holds those of the first 1000 relocations, and of 2000 that did not fit where the payload was loaded." : "")];
  }
  const start = Number(one.offset - found.offset);
  const changed = [...found.bytes];
  (after ?? []).forEach((byte, index) => { changed[start + index] = byte; });
  return [h("h4", {}, "The instruction"),
    byteLines(found.bytes, changed, start, one.width || 4, one),
    h("dl", { class: "facts" },
      h("div", {}, h("dt", {}, "In the file"), h("dd", {}, h("code", {}, found.before))),
      h("div", {}, h("dt", {}, one.overflows ? "What was meant" : "Loaded"), h("dd", {}, h("code", {}, found.after))))];
}

function byteLines(before, after, start, width, one) {
  const line = (name, bytes) => h("p", { class: "byte-line" }, h("span", {}, name), h("span", { class: "bytes" }, bytes.map((byte, index) =>
    h("code", { class: index >= start && index < start + width ? "gap" : null }, byteText(byte)))));
  return h("div", { class: "byte-lines" }, line("before", before), line(one.overflows ? "cut" : "after", after));
}
