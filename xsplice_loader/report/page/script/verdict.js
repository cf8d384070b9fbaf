// The opening, the steps, the findings and the rules.

const STAGES = {
  "header": ["Read the header", "Is it an ELF object file for this processor, and is the table of its sections in it?"],
  "sections": ["Read the sections", "Does each section lie within the file? Is there one symbol table?"],
  "names": ["Read the names", "Do names lie in a table of names, and end?"],
  "symbols": ["Read the symbols", "Is the symbol table whole, and does each symbol have a name?"],
  "build-id": ["Compare build-ids", "Was the payload made for exactly this build of Xen?"],
  "placement": ["Find room", "Sort the sections into regions, take pages and an address for them, and copy."],
  "resolution": ["Look symbols up", "Find each name that the payload uses: in Xen first, then in loaded payloads."],
  "relocation": ["Fill the gaps", "Compute each distance and write it into the code. Does it fit?"],
  "special-sections": ["Special sections", "Is there all that a live patch must have?"],
  "patching-sections": ["Something to do", "Does it patch a function, or have a hook?"],
  "prepare": ["Look at the functions", "Is there room for each jump, and is the new function near enough? Carry out the tables."],
  "symbol-table": ["Add its symbols", "Make the payload’s own names known to later payloads."],
  "permissions": ["Lock the pages", "Code may be run, data written, the rest only read."],
};
const OPEN_FINDINGS = 12;
const VERDICTS = { accepted: "accepted", refused: "refused", crash: "would crash Xen" };

function showOpening(payload, hypervisor) {
  const { entry, trace } = payload;
  const verdict = VERDICTS[entry.verdict] ?? "cannot be read";
  put(byId("verdict"), h("span", { class: "payload-name" }, entry.name), " ",
    h("span", { class: entry.verdict === "accepted" ? "good" : "bad" }, verdict));
  const deciding = entry.findings[trace.decided_by];
  put(byId("verdict-reason"), ...reason(entry, deciding));
  const log = byId("xen-log");
  log.hidden = entry.verdict === "accepted" || entry.verdict === null;
  put(log, h("p", { class: "small" }, entry.xen_message === null ? "Xen logs nothing." : "All that Xen says about it, behind “livepatch” and the payload’s name:"),
    entry.xen_message === null ? null : lines(entry.xen_message.split("\n")));
  const facts = [
    ["File", entry.file],
    ["Hypervisor", `${hypervisor.built_in ? "the built-in model" : hypervisor.file}, rules of Xen ${hypervisor.release}`],
    ["Error", entry.errno && `${entry.errno.name} (${entry.errno.number})`],
    ["Base", payload.wasPlaced && h("code", {}, hex(payload.base))],
    ["Pages", payload.wasPlaced && String(entry.pages)],
    ["Relocations", payload.wasPlaced && payload.count.toLocaleString("en")],
    ["Build-id", entry.build_id && h("code", {}, entry.build_id)],
    ["Made for Xen", entry.xen_depends && h("code", {}, entry.xen_depends)],
  ];
  put(byId("facts"), ...facts.filter(([, fact]) => fact).map(([name, fact]) => h("div", {}, h("dt", {}, name), h("dd", {}, fact))));
}

function reason(entry, deciding) {
  if (entry.verdict === "accepted") return ["Every check was passed. It is loaded, and can be applied."];
  if (deciding === undefined) return [entry.findings.length ? `${sentence(entry.findings[0].message)} ` : "The file could not be read."];
  const parts = [sentence(deciding.message), " "];
  if (deciding.hint !== null && deciding.hint !== undefined) parts.push(sentence(deciding.hint), " ");
  return [...parts, ruleLink(deciding.rule)];
}

const ruleLink = (rule) => h("a", { class: "rule-link", href: `#rule-${rule}` }, rule);

function showSteps(payload, stages) {
  const { entry, trace } = payload;
  const decidedAt = stages.indexOf(entry.stage);
  const refused = entry.verdict !== "accepted";
  put(byId("step-list"), ...stages.map((stage, number) => {
    const found = trace.stages[stage] ?? { error: 0, warning: 0 };
    const [title, question] = STAGES[stage];
    const fired = refused && number === decidedAt;
    const beyond = refused && number > decidedAt;
    const findings = entry.findings.filter((finding) => finding.stage === stage);
    const state = fired ? "fired" : beyond ? (found.error ? "also" : "beyond") : "passed";
    const word = { fired: entry.verdict === "crash" ? "Xen dies here" : "refused here", also: "would fail too", beyond: "not reached", passed: "passed" }[state];
    return h("li", { class: state, "data-stage": stage },
      h("span", { class: "step-mark", "aria-hidden": "true" }, { fired: "✕", also: "✕", beyond: "·", passed: "✓" }[state]),
      h("div", {},
        h("h3", {}, h("span", { class: "step-number" }, `${number + 1} `), title, " ", h("span", { class: "step-state" }, word)),
        h("p", {}, question),
        fired && h("p", { class: "step-check" }, firing(findings, entry.rule, trace)),
        !fired && found.error > 0 && h("p", { class: "small" }, counted(found.error, "error", "errors")),
        found.warning > 0 && h("p", { class: "small" }, counted(found.warning, "warning", "warnings"))));
  }));
}

function firing(findings, rule, trace) {
  const first = findings.find((finding) => finding.rule === rule);
  const more = (trace.stages[first?.stage]?.error ?? 1) - 1;
  return [ruleLink(rule), " ", first?.message ?? "", more > 0 ? ` (and ${counted(more, "more error", "more errors")} in this step)` : ""];
}

function showFindings(payload, rules) {
  const { entry, trace } = payload;
  const left = trace.findings - entry.findings.length;
  const items = entry.findings.map((finding, number) => findingItem(finding, number === trace.decided_by));
  const folded = items.splice(OPEN_FINDINGS);
  put(byId("finding-list"),
    items.length ? h("ol", { class: "findings" }, items)
      : h("p", { class: "quiet-words" }, "Nothing. Every check was passed, and there is nothing to warn of."),
    folded.length > 0 && h("details", {}, h("summary", {}, counted(folded.length, "more finding", "more findings")), h("ol", { class: "findings", start: String(OPEN_FINDINGS + 1) }, folded)),
    left > 0 ? h("p", { class: "small" }, `… and ${left.toLocaleString("en")} more, which are not listed here.`) : "");
  const names = Object.keys(rules).sort();
  byId("rules").hidden = names.length === 0;
  put(byId("rule-list"), ...names.map((name) => h("article", { class: "rule", id: `rule-${name}`, tabindex: "-1" },
    h("h3", {}, h("code", {}, name), " ", sentence(rules[name].title)),
    h("p", {}, rules[name].lesson),
    h("p", { class: "small" }, [rules[name].stage && `step: ${STAGES[rules[name].stage][0].toLowerCase()}`, rules[name].errno, `source: ${rules[name].source}`].filter(Boolean).join(" · ")))));
}

function findingItem(finding, decides) {
  const where = finding.section && finding.offset !== null && finding.offset !== undefined ? `${finding.section}+0x${finding.offset.toString(16)}` : "";
  return h("li", { class: finding.severity },
    h("p", {}, h("span", { class: "severity" }, decides ? "error, decides" : finding.severity), " ", ruleLink(finding.rule), " ",
      where && h("code", {}, where)),
    h("p", {}, sentence(finding.message)),
    finding.instruction && h("p", {}, h("code", {}, finding.instruction)),
    finding.hint && h("p", { class: "small" }, sentence(finding.hint)));
}
