// The table: sorted, filtered by axis values, with chosen columns, and copied as it stands.

const table = {
  /** Column that rows are sorted by, and whether upwards; none at first: the grid's order. */
  by: null,
  up: true,
  /** Groups and columns that are not shown. */
  without: new Set(),
  /** For each axis the values that are filtered out. */
  filtered: page.columns.map(() => new Set()),
};

function shownColumns() {
  return page.columns.map((_, i) => i).filter((i) => !table.without.has(i));
}

/** What a column sorts by: its number, also one with an error or a remark behind it, else its text. */
function key(cell, column) {
  const value = page.cells[cell].values[column];
  if (value !== null) return value;
  const text = page.cells[cell].texts[column].plain;
  const number = Number(text.split(/ [±(]/)[0]);
  return text === "" || Number.isNaN(number) ? text : number;
}

const inOrder = new Intl.Collator(undefined, { numeric: true }).compare;

function shownRows() {
  const passes = (cell) => table.filtered.every((without, column) => !without.has(page.cells[cell].texts[column].plain));
  const rows = page.cells.map((_, i) => i).filter(passes);
  if (table.by !== null) {
    const order = (a, b) => {
      const [x, y] = [key(a, table.by), key(b, table.by)];
      // What is no number stands last, whichever way.
      if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
      const sign = typeof x === "number" ? x - y : inOrder(x, y);
      return table.up ? sign : -sign;
    };
    rows.sort(order);
  }
  return rows;
}

/** The best of the rows that are shown, in a column of scores. */
function best(column, rows) {
  const { better } = page.columns[column];
  const values = rows.map((cell) => page.cells[cell].values[column]).filter((value) => value !== null);
  if (!better || values.length < 2) return null;
  return better === "high" ? Math.max(...values) : Math.min(...values);
}

function sortBy(column) {
  const again = table.by === column;
  // At first the better end is on top.
  table.up = again ? !table.up : page.columns[column].better !== "high";
  table.by = column;
  drawTable();
}

/** Draws the table; the control that has the focus keeps it. */
function drawTable() {
  const focused = document.activeElement?.dataset.control;
  const [columns, rows] = [shownColumns(), shownRows()];
  const numbers = (i) => page.columns[i].group !== "axis";
  const first = (i, place) => place > 0 && page.columns[i].group !== page.columns[columns[place - 1]].group;
  const classes = (i, place, more = "") =>
    [numbers(i) ? "number" : "", page.columns[i].group === "paper" ? "paper" : "", first(i, place) ? "first" : "", more].join(" ").trim();
  const heading = (i, place) => {
    const sort = table.by === i ? (table.up ? "ascending" : "descending") : null;
    return element("th", { scope: "col", class: classes(i, place), "aria-sort": sort },
      element("button", { type: "button", onclick: () => sortBy(i), title: "Sort by this column", "data-control": `sort-${i}` }, page.columns[i].heading.plain));
  };
  const tops = columns.map((i) => best(i, rows));
  const pick = (cell, side) =>
    toggle(side.toUpperCase(), state[side] === cell, () => change({ [side]: cell }), { title: `Compare as ${side.toUpperCase()}`, class: "choice", "data-control": `${side}-${cell}` });
  const line = (cell) => {
    const { texts, values } = page.cells[cell];
    const cells = columns.map((i, place) => {
      const isBest = tops[place] !== null && values[i] === tops[place];
      const mark = markOf(texts[i]);
      const attributes = { class: classes(i, place, isBest ? "best" : ""), title: mark === null ? null : page.notes[mark].plain };
      return element("td", attributes, texts[i].plain);
    });
    const picks = element("td", { class: "pick" }, swatch(cell), pick(cell, "a"), " ", pick(cell, "b"));
    return element("tr", { class: state.a === cell || state.b === cell ? "chosen" : null, "data-cell": cell }, picks, ...cells);
  };
  const head = element("tr", {}, element("th", { scope: "col", class: "pick" }, "compare"), ...columns.map(heading));
  document.getElementById("scores").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows.map(line)));
  if (focused) document.querySelector(`#scores [data-control="${focused}"]`)?.focus();
}

/** The place among the notes of the one that a blank's mark is of. */
function markOf(text) {
  const mark = /^– \[(\d+)\]$/.exec(text.plain);
  return mark === null ? null : mark[1] - 1;
}

/** The table as it stands: rows of texts in a form, and the notes that it has marks of, each with its mark. */
function shownTexts(form) {
  const columns = shownColumns();
  const texts = [columns.map((i) => page.columns[i].heading), ...shownRows().map((cell) => columns.map((i) => page.cells[cell].texts[i]))];
  const marks = [...new Set(texts.flat().map(markOf))].filter((mark) => mark !== null).sort((a, b) => a - b);
  return { rows: texts.map((row) => row.map((text) => text[form])), notes: marks.map((mark) => `[${mark + 1}] ${page.notes[mark][form]}`) };
}

const forms = {
  Markdown() {
    const { rows, notes } = shownTexts("markdown");
    const line = (texts) => `| ${texts.join(" | ")} |\n`;
    const rule = shownColumns().map((i) => (page.columns[i].group === "axis" ? "---" : "---:"));
    return [line(rows[0]), line(rule), ...rows.slice(1).map(line), ...notes.map((note) => `\n${note}\n`)].join("");
  },
  LaTeX() {
    const { rows, notes } = shownTexts("latex");
    const line = (texts) => `{}${texts.join(" & ")} \\\\\n`;
    const columns = shownColumns().map((i) => (page.columns[i].group === "axis" ? "l" : "r")).join("");
    const table = `\\begin{tabular}{${columns}}\n\\toprule\n${line(rows[0])}\\midrule\n${rows.slice(1).map(line).join("")}\\bottomrule\n\\end{tabular}\n`;
    return `% \\usepackage{booktabs}\n${table}${notes.map((note) => `\\par ${note}.\n`).join("")}`;
  },
  CSV() {
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    return shownTexts("plain").rows.map((texts) => `${texts.map(quoted).join(",")}\n`).join("");
  },
};

/** Copies a text; where the browser has no clipboard for pages from files, it is shown to be copied by hand. */
async function copy(form, said, shown) {
  const text = forms[form]();
  shown.hidden = true;
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = `Copied as ${form}.`;
  } catch {
    said.textContent = `${form}, to be copied from here:`;
    shown.hidden = false;
    shown.textContent = text;
    getSelection().selectAllChildren(shown);
  }
}

function tableControls() {
  const filters = page.columns.map((column, i) => {
    const values = [...new Set(page.cells.map((cell) => cell.texts[i].plain))];
    if (column.group !== "axis" || values.length < 2) return null;
    const button = (value) => {
      const made = toggle(value === "" ? "(none)" : value, true, () => {
        const without = table.filtered[i];
        without.has(value) ? without.delete(value) : without.add(value);
        made.setAttribute("aria-pressed", String(!without.has(value)));
        drawTable();
      }, { "data-filter": `${column.heading.plain}=${value}` });
      return made;
    };
    return element("fieldset", {}, element("legend", {}, column.heading.plain), ...values.map(button));
  });
  const choice = (text, columns) => {
    const made = toggle(text, true, () => {
      const off = !columns.every((i) => table.without.has(i));
      columns.forEach((i) => (off ? table.without.add(i) : table.without.delete(i)));
      made.setAttribute("aria-pressed", String(!off));
      drawTable();
    });
    return made;
  };
  const paper = page.columns.map((_, i) => i).filter((i) => page.columns[i].group === "paper");
  const others = page.columns.map((_, i) => i).filter((i) => page.columns[i].group !== "paper");
  const columns = element("fieldset", {}, element("legend", {}, "columns"),
    ...others.map((i) => choice(page.columns[i].heading.plain, [i])), paper.length > 0 ? choice("the paper's", paper) : null);
  const said = element("span", { class: "said", role: "status" });
  const shown = element("pre", { hidden: true, tabindex: "0" });
  const copies = Object.keys(forms).map((form) => element("button", { type: "button", onclick: () => copy(form, said, shown), "data-copy": form }, form));
  const copying = element("fieldset", {}, element("legend", {}, "copy as"), ...copies, said);
  document.getElementById("table-controls").replaceChildren(...filters.filter((filter) => filter !== null), columns, copying, shown);
}
