// The page: what is chosen, and who is told when that changes.

const THEMES = [["auto", "◐"], ["light", "○"], ["dark", "●"]];

class Page {
  constructor(story) {
    this.story = story;
    this.areas = story.areas.map((area) => ({ name: area.name, start: BigInt(area.start), end: BigInt(area.end) }));
    this.arena = { ...story.arena, start: BigInt(story.arena.start), end: BigInt(story.arena.end) };
    this.range = { start: BigInt(story.load.hypervisor.arena.start), end: BigInt(story.load.hypervisor.arena.end) };
    this.payloads = new Map();
    this.map = new AddressMapView(this.areas);
    this.place = new PlaceView(this.areas, (base) => this.moveTo(base));
    this.listing = new Listing((row) => this.choose(row));
    const { payloads, hypervisor, steps } = story.load;
    byId("choice").hidden = payloads.length < 2;
    byId("payload-choice").append(...payloads.map((entry, number) => h("option", { value: String(number) }, `${number + 1}  ${entry.name}`)));
    byId("payload-choice").addEventListener("change", (event) => this.show(Number(event.target.value)));
    put(byId("footer"), `Xen ${hypervisor.release}, ${hypervisor.built_in ? "the built-in model" : hypervisor.file}. Everything on this page was computed by xsplice-loader; the numbers that follow the slider are computed here, by the same arithmetic.`);
    showArena(this.arena);
    showTimeline(payloads, steps ?? [], (number) => {
      this.show(number);
      byId("main").focus();
      scrollTo(0, 0);
    });
    if (payloads.length) this.show(0);
  }

  show(number) {
    if (!this.payloads.has(number)) this.payloads.set(number, new Payload(this.story.load.payloads[number], this.story.traces[number]));
    const payload = this.payloads.get(number);
    this.payload = payload;
    this.base = payload.base;
    byId("payload-choice").value = String(number);
    showOpening(payload, this.story.load.hypervisor);
    showSteps(payload, this.story.stages);
    showSections(payload);
    showFindings(payload, this.story.rules);
    for (const id of ["relocations", "map-section", "place"]) byId(id).hidden = !payload.wasPlaced || payload.count === 0;
    showJumps(payload, payload.base);
    if (payload.wasPlaced && payload.count) {
      this.row = null;
      this.listing.show(payload, payload.base);
      this.place.show(payload, this.range);
    }
    this.showBar();
  }

  choose(row) {
    this.row = row;
    this.showRow();
  }

  moveTo(base) {
    this.base = base;
    this.listing.move(base);
    this.showRow();
    showJumps(this.payload, base);
    this.showBar();
  }

  showRow() {
    const one = this.row === null ? null : this.payload.at(this.row, this.base);
    put(byId("detail"), ...relocationDetail(one, this.areas));
    const counts = one !== null && one.value !== null;
    this.map.show({ base: this.base, size: this.payload.size, place: one?.P ?? this.base, target: counts ? one.S : null, overflows: one?.overflows ?? false });
  }

  showBar() {
    const { payload } = this;
    const good = payload.entry.verdict === "accepted";
    put(byId("bar-name"), h("b", {}, payload.entry.name), " ", h("span", { class: good ? "good" : "bad" }, VERDICTS[payload.entry.verdict] ?? "cannot be read"));
    if (!payload.wasPlaced) { put(byId("bar-place")); return; }
    const elsewhere = this.base !== payload.base, count = payload.overflowsAt(this.base);
    put(byId("bar-place"), h("code", {}, hex(this.base)), h("span", { class: count ? "tag bad" : "tag" }, counted(count, "overflow", "overflows")),
      elsewhere ? h("button", { type: "button", class: "quiet", on: { click: () => this.place.go(payload.base) } }, "back") : "");
  }
}

function chooseTheme() {
  let chosen = 0;
  byId("theme").addEventListener("click", () => {
    chosen = (chosen + 1) % THEMES.length;
    const [name, mark] = THEMES[chosen];
    if (chosen) document.documentElement.dataset.theme = name; else delete document.documentElement.dataset.theme;
    byId("theme-mark").textContent = mark;
    byId("theme-name").textContent = name;
  });
}

chooseTheme();
new Page(JSON.parse(byId("data").textContent));
document.documentElement.dataset.ready = "";
