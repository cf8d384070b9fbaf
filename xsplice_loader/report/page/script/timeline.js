// Commands in their order: what was printed, what was logged, which bytes changed.

function showTimeline(entries, steps, choose) {
  const section = byId("timeline");
  section.hidden = !steps.length && entries.length < 2;
  if (section.hidden) return;
  let before = new Map();
  const ofSteps = steps.map((step) => {
    const item = stepItem(step, before);
    before = new Map(step.patched.map((patch) => [patch.address, shownBytes(patch)]));
    return item;
  });
  put(byId("timeline-list"), ...(steps.some((step) => step.command.startsWith("upload")) ? [] : entries.map((entry, number) => uploadItem(entry, () => choose(number)))), ...ofSteps);
}

function uploadItem(entry, choose) {
  const good = entry.verdict === "accepted";
  return h("li", { class: good ? "well" : "ill" }, h("h3", {}, h("code", {}, `upload ${entry.name} ${entry.file}`)),
    h("p", {}, good ? "Accepted. " : `${entry.verdict === null ? "Cannot be read" : `Refused${entry.errno ? `, ${entry.errno.name}` : ""}`}. `, h("button", { type: "button", class: "link", on: { click: choose } }, "Look at this payload")));
}

function stepItem(step, before) {
  const good = step.rc === 0, changed = step.patched.filter((patch) => before.get(patch.address) !== shownBytes(patch));
  const titled = (title, texts) => (texts.length ? [h("p", { class: "small" }, title), lines(texts)] : []);
  return h("li", { class: good ? "well" : "ill" },
    h("h3", {}, h("code", {}, step.command)),
    h("p", {}, step.crash ? ["The machine would die: ", ruleLink(step.crash)] : step.unknown ? `Unknown outcome: ${step.unknown}.` : good ? "Done." : `Failed${step.errno ? `, ${step.errno.name}` : ""}.`),
    titled("xen-livepatch prints", [...step.out, ...step.err]), titled("Xen logs", [...step.messages, ...step.console.map((line) => line ?? "(a line that depends on what is unknown)")]),
    changed.map((patch) => h("div", { class: "byte-lines" }, h("p", { class: "small" }, "Xen’s code at ", h("code", {}, patch.address), before.has(patch.address) ? " changes" : ""),
      before.has(patch.address) ? changedLine("before", before.get(patch.address), shownBytes(patch)) : null, changedLine(before.has(patch.address) ? "after" : "now", shownBytes(patch), before.get(patch.address) ?? ""))),
    titled("Loaded then", step.list));
}

/** The bytes of a patched function in hex, ?? for unknown ones. */
const shownBytes = (patch) => patch.masked ?? patch.bytes;

function changedLine(name, bytes, other) {
  const against = fromHex(other);
  return h("p", { class: "byte-line" }, h("span", {}, name), h("span", { class: "bytes" }, fromHex(bytes).slice(0, 16).map((byte, index) =>
    h("code", { class: against.length && against[index] !== byte ? "gap" : null }, byteText(byte)))));
}
