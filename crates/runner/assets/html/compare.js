// Two cells: their samples from the same noise, along the reverse process, and what differs between them.

const pictures = page.pictures;

const compare = {
  flipped: false,
  /** Whether the two lie on one another instead of side by side. */
  stacked: false,
  /** How far along the reverse process, 0 to 1. */
  along: 1,
  /** The image that is pointed at. */
  pointed: null,
  images: new Map(),
};

/** A picture from its data; all is drawn again once it is decoded. */
function imageOf(src) {
  if (!compare.images.has(src)) {
    const image = new Image();
    image.onload = drawSheets;
    image.src = src;
    compare.images.set(src, image);
  }
  return compare.images.get(src);
}

/** Which of a cell's sheets is shown, and what it is. */
function stopOf({ steps }) {
  const stop = Math.round(compare.along * steps.length);
  return { stop, what: stop < steps.length ? `predicted x₀ at t = ${steps[stop]}` : "samples" };
}

function drawSheet(canvas, src, stop) {
  const { width, height, columns, count } = pictures;
  const [w, h] = [columns * width, Math.ceil(count / columns) * height];
  // Whole screen pixels for each of the image's.
  const scale = Math.max(1, Math.round(896 / w));
  [canvas.width, canvas.height] = [w * scale, h * scale];
  const image = imageOf(src);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  if (image.complete) context.drawImage(image, 0, stop * h, w, h, 0, 0, w * scale, h * scale);
  if (compare.pointed !== null) {
    const [column, row] = [compare.pointed % columns, Math.floor(compare.pointed / columns)];
    context.strokeStyle = "#ff9500";
    context.lineWidth = 2 * scale;
    context.strokeRect(column * width * scale, row * height * scale, width * scale, height * scale);
  }
}

/** The figures of both cells, and of real images. */
const sheets = {};

function drawSheets() {
  for (const side of ["a", "b"]) {
    const { figure, canvas, caption } = sheets[side];
    const { label } = page.cells[state[side]];
    const sheet = pictures.cells[state[side]];
    figure.hidden = compare.stacked && (side === "b") !== compare.flipped;
    canvas.hidden = !sheet;
    const { stop, what } = sheet ? stopOf(sheet) : { stop: 0, what: "its job has left no samples that this page can show" };
    if (sheet) drawSheet(canvas, sheet.src, stop);
    caption.replaceChildren(element("strong", {}, `${side.toUpperCase()} `), swatch(state[side]), `${label}: ${what}`);
    canvas.setAttribute("aria-label", `${label}: ${what}`);
  }
  if (pictures.real) drawSheet(sheets.real.canvas, pictures.real[1], 0);
}

function flip() {
  compare.stacked = true;
  compare.flipped = !compare.flipped;
  stackButton.setAttribute("aria-pressed", "true");
  drawSheets();
}

const stackButton = toggle("in one place", false, () => {
  compare.stacked = !compare.stacked;
  compare.flipped = false;
  stackButton.setAttribute("aria-pressed", String(compare.stacked));
  drawSheets();
}, { class: "choice", id: "stack" });

/** The table of what differs: scores, then configuration. */
function drawDifferences(into) {
  const chosen = [state.a, state.b];
  const [a, b] = chosen.map((cell) => page.cells[cell]);
  const row = (name, x, y, number) =>
    element("tr", {}, element("th", { scope: "row" }, name), ...[x, y].map((text) => element("td", { class: number ? "number" : null }, text ?? "–")));
  const scores = page.columns.map((column, i) => (column.group === "score" ? row(column.heading.plain, a.texts[i].plain, b.texts[i].plain, true) : null));
  const paths = [...new Set([...Object.keys(a.own), ...Object.keys(b.own)])].filter((path) => a.own[path] !== b.own[path]).sort();
  const head = element("tr", {}, element("td", {}), ...chosen.map((cell, i) =>
    element("th", { scope: "col" }, element("strong", {}, "AB"[i] + " "), swatch(cell), page.cells[cell].label)));
  const table = element("table", { class: "differences" }, element("thead", {}, head), element("tbody", {}, ...scores.filter((line) => line !== null),
    ...paths.map((path) => row(path, a.own[path], b.own[path]))));
  const same = paths.length === 0 ? element("p", { class: "small" }, "Their configurations are the same.") : null;
  const whole = (cell, side) => {
    const all = { ...page.shared, ...page.cells[cell].own };
    const text = Object.keys(all).sort().map((path) => `${path}: ${all[path]}`).join("\n");
    return element("details", {}, element("summary", {}, `The whole configuration of ${side}`), element("pre", { class: "scroll", tabindex: "0" }, text));
  };
  into.replaceChildren(element("div", { class: "scroll" }, table), ...[same, whole(state.a, "A"), state.a === state.b ? null : whole(state.b, "B")].filter((part) => part !== null));
}

function chooser(side) {
  const options = page.cells.map((cell, i) => element("option", { value: i }, cell.label));
  const select = element("select", { id: `choice-${side}`, onchange: () => change({ [side]: Number(select.value) }) }, ...options);
  onChange([side], () => (select.value = state[side]));
  select.value = state[side];
  return element("label", {}, element("strong", {}, `${side.toUpperCase()} `), select);
}

/** The image under the pointer. */
function pointAt(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const rows = Math.ceil(pictures.count / pictures.columns);
  const column = Math.floor(((event.clientX - box.left) / box.width) * pictures.columns);
  const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
  const pointed = row * pictures.columns + column;
  if (pointed !== compare.pointed) {
    compare.pointed = pointed;
    drawSheets();
  }
}

function compareControls() {
  const swap = element("button", { type: "button", onclick: () => change({ a: state.b, b: state.a }) }, "swap");
  const flipper = element("button", { type: "button", onclick: flip, id: "flip", title: "Key f" }, "flip A / B");
  const most = Math.max(1, ...pictures.cells.map((sheet) => (sheet ? sheet.steps.length : 0)));
  const slider = element("input", { type: "range", min: 0, max: most, value: most, id: "along", "aria-label": "along the reverse process", oninput: () => {
    compare.along = Number(slider.value) / most;
    drawSheets();
  } });
  for (const side of ["a", "b", "real"]) {
    const leave = () => {
      compare.pointed = null;
      drawSheets();
    };
    const canvas = element("canvas", { role: "img", id: `sheet-${side}`, onmousemove: pointAt, onmouseleave: leave });
    const caption = element("figcaption");
    sheets[side] = { canvas, caption, figure: element("figure", {}, canvas, caption) };
  }
  sheets.real.caption.textContent = pictures.real ? `real images of ${pictures.real[0]}` : "";
  sheets.real.canvas.setAttribute("aria-label", sheets.real.caption.textContent);
  sheets.real.figure.hidden = !pictures.real;
  const there = pictures.cells.some((sheet) => sheet);
  const differences = element("div", { id: "differences" });
  const body = [element("div", { class: "row" }, chooser("a"), chooser("b"), swap)];
  if (there) {
    body.push(
      element("div", { class: "row" }, stackButton, flipper, element("span", { class: "small" }, "t = T"), slider, element("span", { class: "small" }, "samples")),
      element("div", { class: "sheets" }, sheets.a.figure, sheets.b.figure, sheets.real.figure),
      element("p", { class: "small" }, `The first samples of seed ${pictures.seed}, uncurated: each place has the same noise in every cell.${pictures.smaller ? " They are shown smaller than they are." : ""}`),
    );
    onChange(["a", "b"], drawSheets);
    drawSheets();
  } else {
    body.push(element("p", { class: "small" }, "The jobs have left no samples that can be shown one by one."));
  }
  document.getElementById("compare-body").replaceChildren(...body, element("h3", {}, "What differs"), differences);
  onChange(["a", "b"], () => drawDifferences(differences));
  drawDifferences(differences);
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range";
    if (event.key === "f" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey && there) flip();
  });
}
