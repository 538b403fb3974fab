// What is known of the study, what is chosen, and small helpers. Text only ever goes in as text.
const DATA = JSON.parse(document.getElementById("data").textContent);
const COLUMNS = new Map(DATA.columns.map((column) => [column.name, column]));
const ROWS = Math.max(0, ...DATA.columns.map((column) => (column.values || []).length));
const KEYS = COLUMNS.get("key");
const $ = (id) => document.getElementById(id);

const state = { by: DATA.axes[0] || "seed", group: null, sort: "fid", down: false, page: 0, chosen: [], rows: [], words: "" };
const listeners = [];
const changed = () => listeners.forEach((listener) => listener());
const afterPaint = (work) => requestAnimationFrame(() => setTimeout(work));
// One formatter for all numbers: making one takes longer than a whole row of the table.
const whole = new Intl.NumberFormat("en-GB"), fraction = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 5 });

function value(name, row) {
  const column = COLUMNS.get(name);
  if (!column) return null;
  if (!column.values) return column.constant === undefined ? null : column.constant;
  const found = column.values[row];
  return column.levels ? column.levels[found] : found;
}

function said(name, row) {
  const found = value(name, row);
  if (found === null || found === "") return "–";
  if (typeof found !== "number") return String(found);
  if (Number.isInteger(found)) return whole.format(found);
  return Math.abs(found) < 1e-3 ? found.toExponential(2) : fraction.format(Number(found.toPrecision(4)));
}

function levels(name) {
  const column = COLUMNS.get(name);
  if (column && column.levels) return column.levels;
  return [...new Set(Array.from({ length: ROWS }, (_, row) => level(name, row)))];
}

const level = (name, row) => String(value(name, row) ?? "");
const title = (name) => (COLUMNS.get(name) || { title: name }).title;
const key = (row) => String(value("key", row) || "");
const name = (row) => DATA.axes.map((axis) => (axis === "sample_steps" ? level(axis, row) + " steps" : axis === "T" ? "T " + level(axis, row) : level(axis, row))).join(", ") || key(row);
const inGroup = (row) => state.group === null || level(state.by, row) === state.group;
const style = (axis, one) => (DATA.colours[axis] || {})[one] || ["#777777", "circle"];
const picture = (row) => DATA.pictures[key(row)];

function make(tag, given = {}, ...inner) {
  const element = document.createElement(tag);
  for (const [attribute, what] of Object.entries(given)) {
    if (attribute.startsWith("on")) element.addEventListener(attribute.slice(2), what);
    else if (attribute in element && attribute !== "list") element[attribute] = what;
    else element.setAttribute(attribute, what);
  }
  element.append(...inner.filter((one) => one !== null));
  return element;
}

// Cells that differ in the training seed alone: not all of them have pictures.
const setting = (row) => DATA.axes.map((axis) => level(axis, row)).join("\n");
let pictured = null;
function twin(row) {
  if (!pictured) {
    pictured = new Map();
    for (let one = 0; one < ROWS; one++) if (picture(one) && !pictured.has(setting(one))) pictured.set(setting(one), one);
  }
  return pictured.get(setting(row));
}

const shownFor = (row) => (picture(row) ? row : twin(row));

function samples(row, text) {
  const of = shownFor(row);
  if (of === undefined) return noSamples(row);
  const image = make("img", { src: picture(of), alt: "64 samples: " + (text || name(row)), className: "pixels", decoding: "async" });
  return of === row ? image : make("div", {}, image, make("p", { className: "note" }, "These are of training seed " + level("seed", of) + ". Of seed " + level("seed", row) + " none were kept."));
}

function noSamples(row) {
  return make("p", { className: "note" }, DATA.whole ? "No picture of it was kept." : "No picture here: cells/" + key(row) + ".png in " + DATA.results);
}
