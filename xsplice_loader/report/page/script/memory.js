// The range that addresses come from, page by page, and the jumps.

const CELLS = 24;
const KINDS = { bitmap: "the bitmap itself", guard: "guard, stays empty", payload: "a payload", free: "free", "given-back": "taken, and given back after the refusal" };

function showArena(arena) {
  const parts = [];
  if (arena.by_hand) parts.push(h("p", {}, "This payload’s address was given by hand, or by a callback: Xen’s own account was not asked."));
  else if (!arena.has_bitmap) parts.push(h("p", {}, "This address was found in another way than Xen’s: no bitmap is kept."));
  const stretches = withGivenBack(arena);
  const used = [...new Set(stretches.map((stretch) => stretch.kind))];
  parts.push(
    h("p", { class: "small" }, "From ", h("code", {}, hex(arena.start)), " to ", h("code", {}, hex(arena.end)), `, ${sizeText(arena.end - arena.start)}, ${counted(arena.free_pages, "page", "pages")} free. A square is a page.`),
    h("div", { class: "pages" }, stretches.map(stretchBox)),
    h("ul", { class: "legend", "aria-hidden": "true" }, used.map((kind) => h("li", {}, h("span", { class: `cell ${kind}` }), KINDS[kind]))));
  if (arena.total > arena.stretches.length) parts.push(h("p", { class: "small" }, `… and ${counted(arena.total - arena.stretches.length, "stretch", "stretches")} more.`));
  put(byId("arena-figure"), ...parts);
}

/** Show where a refused payload had been: its pages are free again, which would leave nothing to see. */
function withGivenBack(arena) {
  return arena.stretches.flatMap((stretch) => {
    const start = BigInt(stretch.start), end = start + BigInt(stretch.pages) * PAGE;
    const gone = stretch.kind === "free" && arena.given_back.find((one) => BigInt(one.start) >= start && BigInt(one.start) + BigInt(one.pages) * PAGE <= end);
    if (!gone) return [stretch];
    const from = BigInt(gone.start), to = from + BigInt(gone.pages) * PAGE;
    const piece = (kind, low, high, name = "") => ({ kind, name, start: hex(low), pages: Number((high - low) / PAGE) });
    const guard = arena.guards === "before" && from > start ? PAGE : 0n;
    return [piece("free", start, from - guard), piece("guard", from - guard, from), piece("given-back", from, to, gone.name), piece("free", to, end)].filter((part) => part.pages > 0);
  });
}

function stretchBox(stretch) {
  const cells = Math.min(stretch.pages, CELLS);
  return h("div", { class: "stretch" },
    h("p", { class: "small" }, h("code", {}, hex(BigInt(stretch.start))), " ", h("b", {}, stretch.kind === "given-back" ? `${stretch.name}, given back` : stretch.name || KINDS[stretch.kind]), ` ${counted(stretch.pages, "page", "pages")}`),
    h("div", { class: "cells", "aria-hidden": "true" }, Array.from({ length: cells }, () => h("span", { class: `cell ${stretch.kind}` })),
      stretch.pages > cells && h("span", { class: "small" }, `… ${(stretch.pages - cells).toLocaleString("en")} more`)));
}

function showJumps(payload, base) {
  const figure = byId("jumps-figure");
  const functions = payload.wasPlaced ? payload.functionsAt(base) : [];
  if (!functions.length) {
    put(figure, h("p", { class: "quiet-words" }, "This payload replaces no function, or was refused before its functions were looked at."));
    return;
  }
  put(figure, ...functions.slice(0, 64).map((jump) => jumpFigure(jump, base !== payload.base)),
    functions.length > 64 ? h("p", { class: "small" }, `… and ${functions.length - 64} more functions.`) : "");
}

function jumpFigure(jump, isElsewhere) {
  const far = jump.newAddr !== 0n && !fits32(jump.displacement);
  const before = padded(fromHex(jump.before ?? ""));
  const after = jump.newAddr ? withJump(before, jump) : padded(fromHex(jump.patched ?? ""));
  const size = jump.newAddr ? jump.patch_offset + 5 : jump.new_size;
  return h("article", { class: "jump" },
    h("h3", {}, h("code", {}, jump.name), " ", h("span", { class: far ? "tag bad" : "tag" }, far ? "too far" : jump.newAddr ? "becomes a jump" : "becomes NOPs")),
    h("p", { class: "small" }, `${jump.old_size} bytes at `, h("code", {}, hex(jump.oldAddr)),
      jump.newAddr ? [" → ", h("code", {}, hex(jump.newAddr)), isElsewhere ? ", with the payload at the base chosen above" : ""] : `, ${jump.new_size} of them overwritten`),
    jump.patched === null ? h("p", { class: "quiet-words" }, "The first bytes of this function are unknown.") : h("div", { class: "byte-lines" },
      byteLine("before", before, 0, jump.patch_offset, size), byteLine("after", after, 0, jump.patch_offset, size)),
    jump.newAddr ? h("p", {}, h("code", {}, "e9"), ` and ${signedHex(jump.displacement)}: from the end of the jump at `, h("code", {}, hex(jump.oldAddr + BigInt(jump.patch_offset) + 5n)),
      ` it is ${sizeText(jump.displacement)} ${jump.displacement < 0n ? "down" : "up"}.`) : null,
    jump.patch_offset ? h("p", {}, "The first four bytes are ENDBR64. They stay, and the jump stands behind them.") : null,
    jump.code.length ? h("details", {}, h("summary", {}, "What it overwrites"), lines(jump.code.map(([offset, length, text]) =>
      `${offset < size && offset + length > jump.patch_offset ? "×" : " "} +${String(offset).padEnd(3)} ${text}`))) : null);
}

/** At least 32 bytes; null for those that are unknown. */
function padded(bytes) {
  return [...bytes, ...Array(Math.max(32 - bytes.length, 0)).fill(null)];
}

function withJump(before, jump) {
  const bytes = [...before];
  [0xe9, ...bytesOf(jump.displacement, 4)].forEach((byte, index) => { bytes[jump.patch_offset + index] = byte; });
  return bytes;
}

function byteLine(name, bytes, start, kept, size) {
  return h("p", { class: "byte-line" }, h("span", {}, name), h("span", { class: "bytes" }, bytes.slice(0, 16).map((byte, index) =>
    h("code", { class: index < kept ? "kept" : index < size ? "gap" : null }, byteText(byte)))));
}
