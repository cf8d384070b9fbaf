// Another base: the slider, the curve of overflows, the places to try.

class PlaceView {
  constructor(areas, move) {
    this.areas = areas;
    this.move = move;
    this.slider = byId("slider");
    this.slider.addEventListener("input", () => this.go(pageOf(this.scale.from(Number(this.slider.value) / Number(this.slider.max)))));
    byId("address").addEventListener("change", () => this.typed());
    byId("address").addEventListener("keydown", (event) => { if (event.key === "Enter") this.typed(); });
    for (const [pages, name] of [[-256n, "−1 MiB"], [-1n, "−1 page"], [1n, "+1 page"], [256n, "+1 MiB"]]) {
      byId("page-buttons").append(h("button", { type: "button", "data-pages": String(pages), on: { click: () => this.go(this.base + pages * PAGE) } }, name));
    }
    this.range = "window";
    segments(byId("place-range"), "place-range", [["window", "The window"], ["arena", "The payload range"], ["all", "All of Xen’s space"]], this.range, (name) => {
      this.range = name;
      this.rescale();
    });
    this.redraw = drawToFit(byId("curve"), (width) => this.draw(width));
  }

  show(payload, arena) {
    this.payload = payload;
    const { window } = payload.entry;
    this.arena = arena;
    this.window = window && window.lowest ? { low: BigInt(window.lowest), high: BigInt(window.highest) } : null;
    this.base = payload.base;
    this.showPlaces();
    this.showWindow(window);
    this.chooseRange(this.window !== null && this.base >= this.window.low && this.base <= this.window.high ? "window" : "all");
    this.rescale();
    this.follow();
  }

  chooseRange(name) {
    this.range = name;
    byId(`place-range-${name}`).checked = true;
  }

  showPlaces() {
    const xen = this.areas.find((area) => area.name === "xen") ?? this.areas[0];
    const places = [["as loaded", this.payload.base], ["start of the payload range", this.arena.start]];
    const vmap = this.areas.find((area) => area.name === "vmap");
    if (vmap) places.push(["ordinary vmap area", vmap.start + PAGE]);
    if (this.window) places.push(["lowest that fits", this.window.low], ["one page below that", this.window.low - PAGE], ["highest that fits", this.window.high], ["one page above that", this.window.high + PAGE]);
    const possible = places.filter(([, at]) => this.isPossible(at));
    put(byId("compared"), table("The same payload in different places", ["Place", "Base", "From Xen’s code", "Do not fit", "Xen would"], possible.map(([name, at]) => {
      const count = this.payload.overflowsAt(at), away = signed(at - xen.start), refuses = this.isRefusedAt(at);
      return h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, h("code", {}, hex(at))), h("td", {}, `${sizeText(away)} ${away < 0n ? "down" : "up"}`),
        h("td", { class: "number" }, count.toLocaleString("en")), h("td", { class: refuses ? "bad" : "good" }, refuses ? "refuse it" : "take it"));
    })));
    put(byId("places"), ...possible.map(([name, at]) => h("button", { type: "button", "data-base": hex(at), on: { click: () => this.go(at) } }, name)));
  }

  showWindow(window) {
    const words = this.window
      ? [`It fits from `, h("code", {}, hex(this.window.low)), " to ", h("code", {}, hex(this.window.high)), `, ${sizeText(this.window.high - this.window.low + PAGE)}: `,
        window.covers_arena ? "the whole range for payloads lies inside. So an address from there is always near enough." : "not all of the range for payloads lies inside."]
      : ["There is no base at which all of it fits."];
    const sides = { low: "Lower down, the first to fail is", high: "Higher up, the first to fail is", none: "What fits nowhere is" };
    const edges = (window?.tightest ?? []).slice(0, 4).flatMap((edge) => [` ${sides[edge.side]} ${edge.kind} ${edge.index} of `, h("code", {}, edge.section), " (", h("code", {}, edge.symbol), ")."]);
    put(byId("window-words"), ...words, ...edges);
  }

  isPossible(base) {
    return base >= UPPER_HALF && base + this.payload.size <= LIMIT;
  }

  go(base) {
    if (!this.isPossible(base)) return;
    this.base = base;
    byId("address-problem").textContent = "";
    this.follow();
    this.move(base);
  }

  typed() {
    const base = readAddress(byId("address").value);
    let problem = "";
    if (base === null) problem = "An address is up to 16 hexadecimal digits, like 0xffff82d040600000.";
    else if (base % PAGE) problem = `A base is the address of a page: it ends in 000. ${hex(pageOf(base))} is the page that this one lies in.`;
    else if (!this.isPossible(base)) problem = `Xen lives in the upper half of the address space, from ${hex(UPPER_HALF)} on.`;
    if (problem) byId("address-problem").textContent = problem; else this.go(base);
  }

  rescale() {
    const xen = this.areas.find((area) => area.name === "xen") ?? this.areas[0];
    const { low, high } = this.window ?? { low: this.payload.base - 4n * GIB, high: this.payload.base + 4n * GIB };
    const margin = (high - low) / 6n + GIB / 4n, pad = (this.arena.end - this.arena.start) / 20n;
    const top = LIMIT - this.payload.size;
    this.scale = {
      window: () => new LinearScale(pageOf(low - margin), pageOf(high + margin < top ? high + margin : top)),
      arena: () => new LinearScale(this.arena.start - pageOf(pad), this.arena.end + pageOf(pad)),
      all: () => new LogScale(xen.start, UPPER_HALF, top),
    }[this.range]();
    this.follow();
    this.redraw();
  }

  /** Bring slider, field, numbers and words to the present base. */
  follow() {
    const count = this.payload.overflowsAt(this.base), jumps = this.payload.jumpsAt(this.base);
    this.slider.value = String(Math.round(Math.min(Math.max(this.scale.to(this.base), 0), 1) * Number(this.slider.max)));
    this.slider.setAttribute("aria-valuetext", `${hex(this.base)}, ${counted(count, "overflow", "overflows")}`);
    byId("address").value = hex(this.base);
    byId("overflow-count").textContent = count.toLocaleString("en");
    byId("count-panel").classList.toggle("bad", count > 0);
    byId("count-words").textContent = `${count === 1 ? "relocation does" : "relocations do"} not fit at this base`;
    const told = `At ${hex(this.base)}: ${counted(count, "overflow", "overflows")}`;
    clearTimeout(this.telling);
    this.telling = setTimeout(() => { byId("count-live").textContent = told; }, 400);
    put(byId("verdict-there"), ...this.verdictThere(count, jumps));
    byId("trampoline-words").textContent = this.jumpWords(jumps);
    this.redraw?.();
  }

  verdictThere(count, jumps) {
    const area = areaText(this.areas, this.base), far = count + jumps.refused > 0, other = this.payload.trace.refused_anywhere;
    if (!far && other !== null) return [h("b", { class: "bad" }, "Here it would be refused. "), `It would stand in ${area}, and everything that it needs is within 2 GiB. But something else is wrong with it, wherever it stands: `, ruleLink(other)];
    const outside = this.window && (this.base < this.window.low || this.base > this.window.high)
      ? ` It stands ${sizeText(this.base < this.window.low ? this.window.low - this.base : this.base - this.window.high)} outside its window.` : "";
    return [h("b", { class: far ? "bad" : "good" }, far ? "Here it would be refused. " : "Here it fits. "),
      shown(far ? `It would stand in ${area}, and from there 32 bits do not reach all that it needs.${outside}` : `It would stand in ${area}, and everything that it needs is within 2 GiB.`)];
  }

  isRefusedAt(base) {
    return this.payload.trace.refused_anywhere !== null || this.payload.overflowsAt(base) + this.payload.jumpsAt(base).refused > 0;
  }

  jumpWords({ refused, wrapping }) {
    const total = (this.payload.trace.functions ?? []).length;
    if (!total) return "";
    if (refused) return `Jumps to new functions: ${refused} of ${total} would be too far.`;
    return wrapping ? `Jumps to new functions: ${wrapping} of ${total} would pass Xen’s test and still lead astray.` : `Jumps to new functions: all ${total === 1 ? "" : `${total} `}within reach.`;
  }

  draw(width) {
    if (!this.payload) return null;
    const { scale } = this, height = 132, floor = 96, roof = 14, knob = 10;
    const x = (address) => knob + Math.min(Math.max(scale.to(address), 0), 1) * (width - 2 * knob);
    const visible = (start, end) => end > scale.low && start < scale.high;
    const parts = [];
    const band = (low, high, className, y, tall) => {
      if (visible(low, high)) parts.push(s("rect", { class: className, x: x(low), y, width: Math.max(x(high) - x(low), 2), height: tall }));
    };
    if (this.window) band(this.window.low, this.window.high + PAGE, "window-band", roof, floor - roof);
    const most = Math.max(1, this.payload.sorted.length + this.payload.constantOverflows);
    const samples = width - 2 * knob;
    const points = Array.from({ length: samples + 1 }, (_, index) => {
      const place = index / samples;
      return `${knob + place * (width - 2 * knob)} ${floor - (this.payload.overflowsAt(pageOf(wrap(scale.from(place)))) / most) * (floor - roof)}`;
    });
    parts.push(s("path", { class: "curve-fill", d: `M${knob} ${floor}L${points.join("L")}L${width - knob} ${floor}Z` }), s("path", { class: "curve-line", d: `M${points.join("L")}` }));
    band(this.arena.start, this.arena.end, "range arena-range", floor + 4, 7);
    const xen = this.areas.find((area) => area.name === "xen");
    if (xen) band(xen.start, xen.end, "range xen-range", floor + 4, 7);
    if (this.window && visible(this.window.low, this.window.high)) parts.push(label((x(this.window.low) + x(this.window.high)) / 2, floor - 10, "all of it fits", width, "window-text"));
    if (visible(this.arena.start, this.arena.end)) parts.push(label((x(this.arena.start) + x(this.arena.end)) / 2, floor + 27, "Xen’s image, payload range", width, "tick"));
    parts.push(s("path", { class: "base-line", d: `M${x(this.base)} ${roof - 8}V${floor + 14}` }));
    parts.push(s("text", { class: "tick", x: width - knob - 6, y: roof + 15, "text-anchor": "end" }, `${most.toLocaleString("en")} at most`));
    return s("svg", { width, height, role: "img", "aria-label": `How many relocations do not fit, over the base address: ${this.window ? `none from ${hex(this.window.low)} to ${hex(this.window.high)}` : "some at every base"}` }, parts);
  }
}
