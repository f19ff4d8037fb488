// What the page is about, what is chosen on it, and helpers.

const page = JSON.parse(document.getElementById("content").textContent);

const withSamples = page.pictures.cells.map((sheets, cell) => (sheets ? cell : null)).filter((cell) => cell !== null);

/** Cells switched off in charts, and the two that are compared: at first the first and the last that left samples. */
const state = { hidden: new Set(), a: withSamples[0] ?? 0, b: withSamples[withSamples.length - 1] ?? page.cells.length - 1 };

const listeners = [];
/** Calls `listener` after each change of one of these parts of the state. */
function onChange(parts, listener) {
  listeners.push([parts, listener]);
}
function change(what) {
  Object.assign(state, what);
  listeners.filter(([parts]) => parts.some((part) => part in what)).forEach(([, listener]) => listener());
}

/** An element with attributes and children; `on*` are listeners. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function swatch(cell) {
  const colour = page.cells[cell].colour;
  return element("span", { class: "swatch", style: `background:${colour}`, "aria-hidden": "true" });
}

/** A button that is on or off. */
function toggle(text, pressed, onclick, more = {}) {
  return element("button", { type: "button", "aria-pressed": String(pressed), onclick, ...more }, ...[].concat(text));
}
