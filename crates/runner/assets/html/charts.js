// Charts: hover or arrow keys read values, cells are switched on and off in all of them.

const plots = [];
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A line is shown as long as one of its cells is. */
function isShown(line) {
  return line.cells.some((cell) => !state.hidden.has(cell));
}

/** What leads from cell to cell is shown where all of them are. */
function isWhole(thread) {
  return thread.cells.every((cell) => !state.hidden.has(cell));
}

/** A number with the digits that are of use; what is counted, in full. */
function short(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  return value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6) ? String(Number(value.toPrecision(5))) : String(Number(value.toPrecision(4)).toExponential());
}

/** Where a logarithmic axis has lines: at round numbers, whatever its ends are; between two of them, evenly. */
function logLines(low, top) {
  const lines = [];
  if (!(low > 0)) return [low, top];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(top); power++) {
    for (let digit = 1; digit < 10; digit++) lines.push(Number(`${digit}e${power}`));
  }
  const within = lines.filter((value) => low <= value && value <= top);
  return within.length > 1 ? within : [0, 1, 2, 3, 4].map((i) => low + ((top - low) * i) / 4);
}

/** The ticks of a logarithmic axis that have room for a number: powers of ten, over few decades some between them too; where there is none, all. */
function ticks(values) {
  const decades = Math.log10(values[values.length - 1] / values[0]);
  const wanted = decades < 1.2 ? [1, 2, 3, 5, 7] : decades < 3 ? [1, 2, 5] : [1];
  const has = (value) => wanted.includes(Number(value.toExponential(6).split("e")[0]));
  return values.some(has) ? values.map((value) => (has(value) ? value : null)) : values;
}

/** What is read at the cursor: each line that is shown, at the nearest of its own points, if it reaches there. */
function reading(chart, x) {
  const distance = (at) => (chart.x.log ? Math.abs(Math.log(at / x)) : Math.abs(at - x));
  const read = (line) => {
    const nearest = line.x.reduce((best, at, i) => (distance(at) < distance(line.x[best]) ? i : best), 0);
    const band = line.low.length > 0 && line.low[nearest] !== line.high[nearest] ? ` (${short(line.low[nearest])} to ${short(line.high[nearest])})` : "";
    const elsewhere = line.x[nearest] === x ? "" : ` at ${short(line.x[nearest])}`;
    return [line, `${short(line.y[nearest])}${band}${elsewhere}`];
  };
  return chart.lines.filter((line) => isShown(line) && line.x[0] <= x && x <= line.x[line.x.length - 1]).map(read);
}

/** What was published at the cursor, if a point stands there. */
function publishedAt(chart, x) {
  const place = chart.published ? chart.published[1].x.indexOf(x) : -1;
  return place < 0 ? [] : [`${chart.published[0]}: ${short(chart.published[1].y[place])}`];
}

const HEIGHT = 300;
const widthOf = (into) => Math.max(240, into.clientWidth);

function drawChart(chart, into) {
  const tables = chart.lines.map((line) => [line.x, line.y, line.low.length > 0 ? line.low : line.y, line.high.length > 0 ? line.high : line.y]);
  const marks = [...(chart.published ? [chart.published[1]] : []), ...chart.threads];
  const joined = uPlot.join([...tables, ...marks.map(({ x, y }) => [x, y])]);
  const tip = element("div", { class: "tip", hidden: true });
  const said = element("div", { class: "heard", role: "status" });
  const series = chart.lines.flatMap((line) => {
    const { colour, dash } = page.cells[line.cells[0]];
    const edge = { show: isShown(line), stroke: "transparent", width: 0, points: { show: false } };
    return [{ label: line.label, show: isShown(line), stroke: colour, width: 2, dash: dash ?? [], points: { show: line.x.length < 12, size: 7, fill: colour } }, { ...edge }, { ...edge }];
  });
  const published = chart.published ? [{ label: chart.published[0], stroke: css("--ink"), width: 1.5, paths: () => null, points: { show: true, size: 8, fill: "transparent", stroke: css("--ink") } }] : [];
  const threads = chart.threads.map((thread) => ({ show: isWhole(thread), stroke: css("--soft"), width: 1, spanGaps: true, points: { show: false } }));
  const bands = chart.lines.flatMap((line, i) => (line.low.length > 0 ? [{ series: [3 + 3 * i, 2 + 3 * i], fill: `${page.cells[line.cells[0]].colour}33` }] : []));
  const axis = ({ label, log }, size) => ({ label, stroke: css("--soft"), size, labelSize: 22, font: "12px system-ui", labelFont: "12px system-ui",
    grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1 }, splits: log ? (_plot, _axis, low, top) => logLines(low, top) : undefined, filter: log ? (_, values) => ticks(values) : undefined,
    values: (_, values) => values.map((value) => (value === null ? null : short(value))) });
  const level = (plot) => {
    if (!chart.level) return;
    const y = Math.round(plot.valToPos(chart.level[0], "y", true));
    const { ctx, bbox } = plot;
    if (y < bbox.top || y > bbox.top + bbox.height) return;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = css("--ink");
    ctx.setLineDash([6, 4]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.font = `${12 * devicePixelRatio}px system-ui`;
    ctx.textAlign = "left";
    ctx.fillText(chart.level[1], bbox.left + 4, y - 4);
    ctx.restore();
  };
  // The band of a single point is a stroke.
  const strokes = (plot) => {
    const { ctx } = plot;
    ctx.save();
    ctx.lineWidth = 2 * devicePixelRatio;
    for (const line of chart.lines.filter((line) => isShown(line) && line.low.length === 1)) {
      const [x, low, high] = [plot.valToPos(line.x[0], "x", true), plot.valToPos(line.low[0], "y", true), plot.valToPos(line.high[0], "y", true)];
      ctx.strokeStyle = page.cells[line.cells[0]].colour;
      ctx.beginPath();
      ctx.moveTo(x, low);
      ctx.lineTo(x, high);
      ctx.stroke();
    }
    ctx.restore();
  };
  const read = (plot) => {
    const { idx, left } = plot.cursor;
    tip.hidden = idx === null || idx === undefined || left < 0;
    if (tip.hidden) return;
    const lines = reading(chart, joined[0][idx]);
    const at = `${chart.x.label} ${short(joined[0][idx])}`;
    const others = publishedAt(chart, joined[0][idx]);
    tip.replaceChildren(element("div", {}, at), ...lines.map(([line, text]) => element("div", {}, swatch(line.cells[0]), `${line.label}: ${text}`)), ...others.map((text) => element("div", {}, text)));
    said.textContent = plot.read ? `${at}: ${[...lines.map(([line, text]) => `${line.label} ${text}`), ...others].join("; ")}` : "";
    const x = left + plot.over.offsetLeft + 14;
    tip.style.left = `${x + tip.offsetWidth > into.clientWidth ? Math.max(0, x - tip.offsetWidth - 28) : x}px`;
    tip.style.top = `${plot.over.offsetTop + 6}px`;
  };
  // The level is in sight, too.
  const range = (_, low, top) => {
    if (chart.level && low !== null) [low, top] = [Math.min(low, chart.level[0]), Math.max(top, chart.level[0])];
    if (low === null) return [chart.y.log ? 0.1 : 0, 1];
    return chart.y.log ? [low / 1.15, top * 1.15] : uPlot.rangeNum(low, top, 0.06, true).map((end, i) => (i === 0 && low >= 0 ? Math.max(0, end) : end));
  };
  const options = {
    width: widthOf(into), height: HEIGHT, series: [{}, ...series, ...published, ...threads], bands, legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
    scales: { x: { time: false, distr: chart.x.log ? 3 : 1, range: (_, low, top) => [low, top] }, y: { distr: chart.y.log ? 3 : 1, range } },
    axes: [axis(chart.x, 40), axis(chart.y, 62)],
    hooks: { draw: [level, strokes], setCursor: [read] },
  };
  into.replaceChildren();
  const plot = new uPlot(options, joined, into);
  into.append(tip);
  into.after(said);
  const keys = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    plot.read = true;
    const last = joined[0].length - 1;
    const index = Math.min(last, Math.max(0, (plot.cursor.idx ?? -1) + step));
    plot.setCursor({ left: plot.valToPos(joined[0][index], "x"), top: 1 });
  };
  const leave = () => {
    plot.read = false;
    plot.setCursor({ left: -10, top: -10 });
  };
  into.onkeydown = keys;
  into.onblur = leave;
  return { plot, said, chart, into };
}

/** All charts anew, in other colours. */
function drawCharts() {
  plots.forEach((drawn) => {
    drawn.plot.destroy();
    drawn.said.remove();
    Object.assign(drawn, drawChart(drawn.chart, drawn.into));
  });
}

function showCells() {
  plots.forEach(({ plot, chart }) => {
    chart.lines.forEach((line, i) => [1, 2, 3].forEach((part) => plot.setSeries(3 * i + part, { show: isShown(line) })));
    const first = plot.series.length - chart.threads.length;
    chart.threads.forEach((thread, i) => plot.setSeries(first + i, { show: isWhole(thread) }));
  });
}

function chartSection() {
  const list = document.getElementById("chart-list");
  if (!list) return;
  const buttons = page.cells.map((cell, i) => {
    const made = toggle([swatch(i), cell.label], true, () => {
      const hidden = new Set(state.hidden);
      hidden.has(i) ? hidden.delete(i) : hidden.add(i);
      change({ hidden });
    }, { "data-toggle": i });
    onChange(["hidden"], () => made.setAttribute("aria-pressed", String(!state.hidden.has(i))));
    return made;
  });
  const all = (text, hidden) => element("button", { type: "button", class: "all", onclick: () => change({ hidden: new Set(hidden) }) }, text);
  document.getElementById("cells").replaceChildren(element("fieldset", {}, element("legend", {}, "cells"), ...buttons, all("all", []), all("none", page.cells.map((_, i) => i))));
  const figures = page.charts.map((chart) => {
    const into = element("div", { class: "plot", tabindex: "0", role: "img", "aria-label": `${chart.title}: ${chart.caption} Arrow keys read its values.` });
    const figure = element("figure", { class: "chart", id: `chart-${chart.name}` }, element("h3", {}, chart.title), into, element("figcaption", {}, chart.published ? `${chart.caption} ○ ${chart.published[0]}.` : chart.caption));
    return [figure, into, chart];
  });
  list.replaceChildren(...figures.map(([figure]) => figure));
  figures.forEach(([, into, chart]) => plots.push(drawChart(chart, into)));
  onChange(["hidden"], showCells);
  new ResizeObserver(() => {
    plots.forEach(({ plot, into }) => {
      if (plot.width !== widthOf(into)) plot.setSize({ width: widthOf(into), height: HEIGHT });
    });
  }).observe(list);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
  for (const [event, printing] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(event, () => {
      document.documentElement.classList.toggle("printing", printing);
      drawCharts();
    });
  }
}
