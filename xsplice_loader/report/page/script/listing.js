// The list of relocations. However long it is, only the rows in view exist as elements.

const ROW_REM = 2.875;
const SPARE = 6;

class Listing {
  constructor(choose) {
    this.choose = choose;
    this.list = byId("list");
    this.rows = [];
    this.selected = 0;
    this.height = rem(ROW_REM);
    this.space = h("div", { class: "list-space", role: "presentation" });
    this.list.append(this.space);
    this.list.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()));
    this.list.addEventListener("keydown", (event) => this.onKey(event));
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.select(Number(option.dataset.position));
    });
    byId("filter").addEventListener("input", () => this.filter());
    for (const id of ["filter-type", "filter-overflow"]) byId(id).addEventListener("change", () => this.filter());
    new ResizeObserver(() => {
      this.height = rem(ROW_REM);
      this.stretch();
      this.draw();
    }).observe(this.list);
  }

  show(payload, base) {
    this.payload = payload;
    this.base = base;
    this.names = payload.symbols.names.map((name) => name.toLowerCase());
    const types = Object.entries(payload.types);
    put(byId("filter-type"), h("option", { value: "" }, "all"), ...types.map(([number, type]) => h("option", { value: number }, type.name)));
    byId("filter").value = "";
    byId("filter-overflow").checked = false;
    this.filter(payload.firstOfInterest());
  }

  /** The payload stands elsewhere now: what overflows has changed, and with it what the list shows. */
  move(base) {
    this.base = base;
    if (byId("filter-overflow").checked) this.filter(); else this.draw();
  }

  filter(wanted = this.rows[this.selected] ?? 0) {
    const { payload } = this;
    const text = byId("filter").value.trim().toLowerCase(), type = byId("filter-type").value;
    const onlyOverflows = byId("filter-overflow").checked;
    const matching = Uint8Array.from(this.names, (name) => name.includes(text));
    this.rows = [];
    for (const group of payload.groups) {
      const wholeGroup = group.section.toLowerCase().includes(text);
      for (let row = group.first; row < group.first + group.count; row += 1) {
        if (!wholeGroup && !matching[payload.symbol[row]]) continue;
        if (type !== "" && String(payload.type[row]) !== type) continue;
        if (onlyOverflows && !payload.overflows(row, this.base)) continue;
        this.rows.push(row);
      }
    }
    byId("list-count").textContent = this.rows.length === payload.count
      ? counted(payload.count, "relocation", "relocations")
      : `${this.rows.length.toLocaleString("en")} of ${counted(payload.count, "relocation", "relocations")}`;
    this.stretch();
    const kept = this.rows.indexOf(wanted);
    this.select(Math.max(kept, 0));
  }

  stretch() {
    this.space.style.height = `${this.rows.length * this.height}px`;
    this.list.style.height = `${Math.max(this.rows.length, 1) * this.height + 2}px`;
  }

  onKey(event) {
    const page = Math.max(1, Math.floor(this.list.clientHeight / this.height) - 1);
    const moves = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.ctrlKey || event.altKey || event.metaKey || !(event.key in moves)) return;
    event.preventDefault();
    this.select(Math.min(Math.max(this.selected + moves[event.key], 0), this.rows.length - 1));
  }

  select(position) {
    this.selected = position;
    const top = position * this.height, { scrollTop, clientHeight } = this.list;
    if (top < scrollTop) this.list.scrollTop = top;
    else if (top + this.height > scrollTop + clientHeight) this.list.scrollTop = top + this.height - clientHeight;
    this.draw();
    if (this.rows.length) this.choose(this.rows[position]); else this.choose(null);
  }

  draw() {
    if (!this.payload) return;
    const first = Math.max(0, Math.floor(this.list.scrollTop / this.height) - SPARE);
    const past = Math.min(this.rows.length, Math.ceil((this.list.scrollTop + this.list.clientHeight) / this.height) + SPARE);
    const options = [];
    for (let position = first; position < past; position += 1) options.push(this.option(position));
    // The chosen row exists even out of view: assistive technology is told of it by its id.
    if (this.rows.length && (this.selected < first || this.selected >= past)) options.push(this.option(this.selected));
    put(this.space, ...options);
    if (this.rows.length) this.list.setAttribute("aria-activedescendant", `option-${this.rows[this.selected]}`); else this.list.removeAttribute("aria-activedescendant");
  }

  option(position) {
    const { payload } = this, row = this.rows[position], group = payload.groupOf(row);
    const type = payload.types[payload.type[row]], chosen = position === this.selected;
    const overflows = payload.overflows(row, this.base);
    const option = h("div", {
      role: "option", class: "option", id: `option-${row}`, "aria-selected": String(chosen),
      "aria-setsize": String(this.rows.length), "aria-posinset": String(position + 1),
      "data-position": String(position), "data-row": String(row),
    },
      h("span", { class: "option-symbol" }, payload.symbols.names[payload.symbol[row]] || "(no name)"),
      h("span", { class: overflows ? "tag bad" : "tag" }, overflows ? "does not fit" : type.name.replace("R_X86_64_", "")),
      h("span", { class: "option-place" }, `${group.section}:${row - group.first}  +0x${payload.offset[row].toString(16)}`));
    option.style.top = `${position * this.height}px`;
    return option;
  }
}
