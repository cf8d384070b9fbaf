// Regions and sections: a bar of the pages, and a table.

const MOST_SECTIONS = 500;
const REGION_WORDS = { text: "code, may be run", rw: "data, may be written", ro: "the rest, may be read" };

function showSections(payload) {
  const figure = byId("loaded-figure");
  const { regions, sections, unknown } = payload.entry;
  if (regions === null) {
    put(figure, h("p", { class: "quiet-words" }, "Xen refused this payload before it had a place, so nothing has an address."));
    return;
  }
  const names = ["text", "rw", "ro"].filter((name) => regions[name].pages > 0);
  put(figure,
    h("div", { class: "regions" }, names.map((name) => {
      const region = regions[name];
      const box = h("div", { class: `region ${name}` }, h("b", {}, name), h("span", {}, REGION_WORDS[name]),
        h("code", {}, region.address), h("span", { class: "small" }, `${sizeText(BigInt(region.size))} in ${counted(region.pages, "page", "pages")}`));
      box.style.flexGrow = String(Math.min(region.pages, 8));
      return box;
    })),
    table(sections.length > MOST_SECTIONS ? `The first ${MOST_SECTIONS} of ${sections.length} sections` : "Sections", ["Section", "Region", "Address", "Bytes"], byAddress(sections).slice(0, MOST_SECTIONS).map((section) =>
      h("tr", {}, h("th", { scope: "row" }, h("code", {}, section.name || "(no name)")), h("td", {}, section.region),
        h("td", {}, h("code", {}, section.address)), h("td", { class: "number" }, section.size.toLocaleString("en"))))),
    unknown.length ? table("Unknown bytes: what Xen writes there depends on memory that it fills in while it boots", ["Address", "Section", "Bytes", "Because it"], unknown.slice(0, MOST_SECTIONS).map((part) =>
      h("tr", {}, h("th", { scope: "row" }, h("code", {}, part.address)), h("td", {}, h("code", {}, part.section ?? "")),
        h("td", { class: "number" }, part.size.toLocaleString("en")), h("td", {}, part.why)))) : null);
}

function byAddress(sections) {
  return [...sections].sort((one, other) => (BigInt(one.address) < BigInt(other.address) ? -1 : 1));
}
