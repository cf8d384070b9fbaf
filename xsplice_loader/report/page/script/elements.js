// Making elements. Text from a payload goes through `shown` and becomes a text node: it is never read as markup.

const SVG = "http://www.w3.org/2000/svg";
// Control characters, marks that turn the writing direction, line separators, characters without a meaning.
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + ".";
const byId = (id) => document.getElementById(id);
const shown = (text) => String(text).replace(INVISIBLE, (mark) => `\\u{${mark.codePointAt(0).toString(16)}}`);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, action] of Object.entries(value)) element.addEventListener(event, action);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, shown(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : shown(child))));
  return element;
}

/** Give an element other children; every text of the page comes in here or by `fill`. */
function put(element, ...children) {
  element.replaceChildren();
  return fill(element, {}, children);
}

/** An HTML element. */
const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
/** An SVG element. */
const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Lines as they stood on a terminal. */
const lines = (texts) => h("pre", {}, h("code", {}, texts.flatMap((text, number) => (number ? [h("br"), text] : [text]))));

function table(caption, heads, rows) {
  return h("div", { class: "table-frame", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows)));
}

/** Radio buttons that look like one control; `choose` is called with the name of the chosen one. */
function segments(fieldset, group, names, chosen, choose) {
  for (const [name, label] of names) {
    const input = h("input", { type: "radio", name: group, value: name, id: `${group}-${name}` });
    input.checked = name === chosen;
    input.addEventListener("change", () => choose(name));
    fieldset.append(h("span", {}, input, h("label", { for: `${group}-${name}` }, label)));
  }
}

/** Pixels of a length that a style gives in rem: letters grow with the screen, and pictures with them. */
const rem = (count) => count * parseFloat(getComputedStyle(document.documentElement).fontSize);

/** Have `draw(width)` make a picture of an element's width, in sixteenths of a rem; the same picture again when it changes. */
function drawToFit(element, draw) {
  let pixels = 0;
  const redraw = () => {
    if (!pixels) return;
    const unit = rem(1 / 16), picture = draw(Math.floor(pixels / unit));
    if (!(picture instanceof Node)) return;
    const width = Number(picture.getAttribute("width")), height = Number(picture.getAttribute("height"));
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("width", String(width * unit));
    picture.setAttribute("height", String(height * unit));
    put(element, picture);
  };
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now !== pixels) { pixels = now; redraw(); }
  }).observe(element);
  return redraw;
}
