// The address map: areas to scale, the reach around a place, and what it has to reach.

const AREA_WORDS = {
  "xen": "Xen’s own image", "payload arena": "the range for payloads", "vmap": "the ordinary vmap area",
  "stubs": "the processors’ stubs", "directmap": "the directmap", "frame table": "the frame table",
};
const AREA_LABELS = {
  "xen": "Xen’s image", "payload arena": "payload range", "machine-to-phys table": "machine-to-phys",
  "compat machine-to-phys table": "compat m2p", "high compat machine-to-phys table": "high compat m2p",
};
const NEAR = 8n * GIB;
const LETTER = 7;

function areaOf(areas, address) {
  return areas.find((area) => address >= area.start && address < area.end) ?? null;
}

class AddressMapView {
  constructor(areas) {
    this.areas = areas;
    const home = areas.find((area) => area.name === "xen") ?? areas[0];
    const low = areas[0].start, high = areas[areas.length - 1].end;
    this.scales = {
      log: [new LogScale(home.start, low, high), "distance from Xen’s code, each doubling the same length"],
      near: [new LinearScale(wrap(home.start - NEAR), home.start + NEAR), "true to scale, 8 GiB around Xen’s code"],
      whole: [new LinearScale(low, high), "true to scale, all of it"],
    };
    this.chosen = "log";
    segments(byId("map-scale"), "map-scale", [["log", "Logarithmic"], ["near", "Near Xen"], ["whole", "True to scale"]], this.chosen, (name) => {
      this.chosen = name;
      this.redraw();
    });
    this.marks = null;
    this.redraw = drawToFit(byId("map"), (width) => this.draw(width));
  }

  /** `marks`: the payload's base and size, the place, and the target or null. */
  show(marks) {
    this.marks = marks;
    this.redraw();
    this.tabulate();
  }

  tabulate() {
    const { place } = this.marks;
    put(byId("map-table"), table("Areas of Xen’s address space, from high to low", ["Area", "From", "To", "Size", "From P"],
      [...this.areas].reverse().map((area) => {
        const nearest = place < area.start ? area.start : place >= area.end ? area.end - 1n : place;
        const away = signed(nearest - place);
        return h("tr", {}, h("th", { scope: "row" }, area.name), h("td", {}, h("code", {}, hex(area.start))), h("td", {}, h("code", {}, hex(area.end))),
          h("td", {}, sizeText(area.end - area.start)), h("td", {}, away === 0n ? "here" : `${sizeText(away)} ${away < 0n ? "down" : "up"}${distance(away) < REACH ? "" : ", out of reach"}`));
      })));
  }

  draw(width) {
    if (this.marks === null) return null;
    const [scale, words] = this.scales[this.chosen];
    const { base, size, place, target, overflows } = this.marks;
    const x = (address) => 4 + Math.min(Math.max(scale.to(address), 0), 1) * (width - 8);
    const visible = (start, end) => end > scale.low && start < scale.high;
    const top = 74, height = 46;
    const parts = [];
    const low = place - REACH, high = place + REACH;
    if (visible(low, high)) {
      const from = x(low), to = Math.max(x(high), from + 2);
      parts.push(s("rect", { class: "band", x: from, y: top - 40, width: to - from, height: height + 54 }),
        s("path", { class: "band-edge", d: `M${from} ${top - 40}v${height + 54}M${to} ${top - 40}v${height + 54}` }));
      parts.push(label(x(place), top - 46, "reach of P, ±2 GiB", width, "band-text"));
    }
    const labels = [];
    for (const area of this.areas) {
      if (!visible(area.start, area.end)) continue;
      const from = x(area.start), to = Math.max(x(area.end), from + 1.5);
      parts.push(s("rect", { class: `area ${area.name.replaceAll(" ", "-")}`, x: from, y: top, width: to - from, height }, s("title", {}, `${area.name} ${hex(area.start)} to ${hex(area.end)}`)));
      labels.push([(from + to) / 2, AREA_LABELS[area.name] ?? area.name]);
    }
    if (visible(base, base + size)) parts.push(s("rect", { class: "payload-mark", x: x(base) - 1.5, y: top - 6, width: Math.max(3, x(base + size) - x(base)), height: height + 12 }));
    if (visible(place, place + 1n)) parts.push(pin(x(place), top, "P", "p"));
    if (target !== null && visible(target, target + 1n)) parts.push(pin(x(target), top, "S", overflows ? "bad" : "s", Math.abs(x(target) - x(place)) < 16 ? 15 : 0));
    const bottom = placeLabels(parts, labels, top + height, width);
    const axis = bottom + 16;
    parts.push(s("path", { class: "axis", d: `M4 ${axis}H${width - 4}` }));
    placeTicks(parts, scale.ticks(Math.max(2, Math.floor(width / 190))), x, axis, width);
    put(byId("map-words"), sentence(words));
    const told = `Address map, ${words}. The payload stands at ${hex(base)}` + (target === null ? "." : `; its place P is ${overflows ? "out of" : "within"} reach of the target S at ${hex(target)}.`);
    return s("svg", { width, height: axis + 26, role: "img", "aria-label": told }, parts);
  }
}

function label(x, y, text, width, className) {
  const half = (text.length * LETTER) / 2;
  return s("text", { class: className, x: Math.min(Math.max(x, half + 4), width - half - 4), y, "text-anchor": "middle" }, text);
}

function pin(x, top, letter, className, aside = 0) {
  return s("g", { class: `pin ${className}` }, s("path", { d: `M${x} ${top - 14}V${top + 46}` }), s("circle", { cx: x + aside, cy: top - 22, r: 9 }),
    s("text", { x: x + aside, y: top - 17.5, "text-anchor": "middle" }, letter));
}

/** Put labels under their areas, each in the first line where it has room, and return where the last line ends. */
function placeLabels(parts, labels, top, width) {
  const lines = [];
  for (const [x, text] of labels.sort((one, other) => one[0] - other[0])) {
    const half = (text.length * LETTER) / 2, centre = Math.min(Math.max(x, half + 4), width - half - 4);
    let line = lines.findIndex((end) => centre - half > end + 8);
    if (line < 0) line = lines.push(0) - 1;
    lines[line] = centre + half;
    const y = top + 22 + line * 17;
    parts.push(s("path", { class: "leader", d: `M${x} ${top}V${y - 12}` }), s("text", { class: "area-text", x: centre, y, "text-anchor": "middle" }, text));
  }
  return top + 22 + Math.max(lines.length - 1, 0) * 17;
}

function placeTicks(parts, ticks, x, axis, width) {
  let end = -Infinity;
  for (const [address, text] of ticks) {
    const at = x(address), half = (text.length * LETTER) / 2, centre = Math.min(Math.max(at, half + 4), width - half - 4);
    parts.push(s("path", { class: "axis", d: `M${at} ${axis}v5` }));
    if (centre - half < end + 8) continue;
    end = centre + half;
    parts.push(s("text", { class: "tick", x: centre, y: axis + 19, "text-anchor": "middle" }, text));
  }
}
