// The table of cells: sorted, filtered, its columns chosen, a page of rows at a time.
const PAGE = 25;
const visibleColumns = new Set(DATA.columns.filter((column) => column.shown && column.values).map((column) => column.name));
const wanted = new Map();
const best = new Map(DATA.columns.filter((column) => column.better && column.values).map((column) => {
  const found = column.values.filter((one) => one !== null);
  return [column.name, found.reduce((a, b) => ((column.better === "lower") === (b < a) ? b : a), found[0])];
}));
// The lines that stand in the table. They get other text, and are made anew only when the columns change.
let columnsHere = [], heads = [], lines = [];

const COMPARE = { "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };

function condition(word) {
  const found = /^([^<>=]+)(<=|>=|<|>|=)(-?[\d.]+(?:e-?\d+)?)$/.exec(word);
  const column = found && DATA.columns.find((one) => one.number && [one.name.toLowerCase(), one.title.toLowerCase().replace(/\s+/g, "_")].includes(found[1]));
  if (column) {
    const limit = Number(found[3]), test = COMPARE[found[2]];
    return (row) => { const here = value(column.name, row); return here !== null && test(here, limit); };
  }
  const has = (text) => String(text).toLowerCase().includes(word);
  const tests = DATA.columns.filter((one) => !one.number && one.values).map(({ levels, values }) => {
    if (!levels) return (row) => has(values[row]);
    const known = levels.map(has); // a level is read once, however many cells have it
    return (row) => known[values[row]];
  });
  return (row) => tests.some((test) => test(row));
}

function choose() {
  const tests = state.words.toLowerCase().split(/\s+/).filter(Boolean).map(condition);
  for (const [axis, one] of wanted) if (one !== "") tests.push((row) => level(axis, row) === one);
  const rows = [];
  for (let row = 0; row < ROWS; row++) if (inGroup(row) && tests.every((test) => test(row))) rows.push(row);
  const column = COLUMNS.get(state.sort);
  if (column) {
    const values = Array.from({ length: ROWS }, (_, row) => value(state.sort, row));
    const sign = state.down ? -1 : 1;
    const missing = (one) => one === null || one === "";
    rows.sort((a, b) => {
      const one = values[a], other = values[b];
      if (missing(one) || missing(other)) return missing(one) - missing(other);
      return sign * (one < other ? -1 : one > other ? 1 : 0);
    });
  }
  state.rows = rows;
}

function sortBy(column) {
  state.down = state.sort === column.name && !state.down;
  state.sort = column.name;
  state.page = 0;
  choose();
  drawTable();
}

function shapeTable() {
  columnsHere = DATA.columns.filter((one) => visibleColumns.has(one.name));
  heads = columnsHere.map((column) => {
    const button = make("button", { type: "button", onclick: () => sortBy(column), "data-column": column.name });
    return make("th", { scope: "col", className: column.number ? "right" : "left" }, button);
  });
  $("cells").tHead.replaceChildren(make("tr", {}, make("th", { scope: "col", className: "pick" }, make("span", { className: "unseen" }, "Compare")), ...heads));
  $("cells").tBodies[0].replaceChildren();
  lines = [];
}

function makeLine() {
  const line = { row: -1, box: make("input", { type: "checkbox", onchange: () => pick(line.row) }), cells: [] };
  line.element = make("tr", { onclick: (event) => {
    if (event.target === line.box) return;
    if (event.target.closest(".pick")) line.box.click(); // a finger that missed the box
    else openCell(line.row);
  } }, make("td", { className: "pick" }, line.box));
  for (const column of columnsHere) {
    const text = document.createTextNode("");
    const open = column.name === "key" ? make("button", { type: "button" }, text) : null;
    const cell = make(open ? "th" : "td", { className: column.number ? "right" : "left" }, open || text);
    if (open) cell.scope = "row";
    line.cells.push({ column, cell, text, open });
    line.element.append(cell);
  }
  return line;
}

function fillLine(line, row) {
  line.row = row;
  line.element.dataset.row = row;
  line.box.setAttribute("aria-label", "Compare " + name(row));
  for (const { column, cell, text, open } of line.cells) {
    const words = open ? key(row).slice(0, 8) : said(column.name, row);
    if (text.data !== words) text.data = words;
    if (open) open.setAttribute("aria-label", words + ": all of " + name(row));
    cell.classList.toggle("best", best.has(column.name) && value(column.name, row) === best.get(column.name));
  }
}

function pick(row) {
  state.chosen = state.chosen.includes(row) ? state.chosen.filter((one) => one !== row) : [...state.chosen, row];
  tick();
}

function tick() {
  const full = state.chosen.length > 1;
  $("compare").disabled = !full;
  $("compare").textContent = full || !state.chosen.length ? "Compare two" : "Compare two: 1 chosen";
  for (const { box, row } of lines) {
    box.checked = state.chosen.includes(row);
    box.disabled = full && !box.checked;
  }
}

function drawTable() {
  const pages = Math.max(1, Math.ceil(state.rows.length / PAGE));
  state.page = Math.min(state.page, pages - 1);
  const from = state.page * PAGE;
  const shown = state.rows.slice(from, from + PAGE);
  heads.forEach((head, i) => {
    const sorted = state.sort === columnsHere[i].name;
    head.setAttribute("aria-sort", sorted ? (state.down ? "descending" : "ascending") : "none");
    head.firstChild.textContent = columnsHere[i].title + (sorted ? (state.down ? " ↓" : " ↑") : "");
  });
  const body = $("cells").tBodies[0];
  while (lines.length > shown.length) lines.pop().element.remove();
  shown.forEach((row, i) => {
    if (!lines[i]) { lines[i] = makeLine(); body.append(lines[i].element); }
    fillLine(lines[i], row);
  });
  tick();
  $("count").textContent = whole.format(state.rows.length) + " of " + whole.format(ROWS) + " cells";
  $("where").textContent = shown.length ? `${whole.format(from + 1)}–${whole.format(from + shown.length)}` : "none";
  $("back").disabled = state.page === 0;
  $("next").disabled = state.page >= pages - 1;
}

function turn(by) {
  state.page += by;
  drawTable();
  // a button that goes out hands the focus on
  const [pressed, other] = by < 0 ? ["back", "next"] : ["next", "back"];
  if ($(pressed).disabled) $(other).focus();
}

function startMenu() {
  const menu = document.querySelector(".menu");
  document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

function startTable() {
  const again = () => { state.page = 0; choose(); drawTable(); };
  $("filter").addEventListener("input", () => { state.words = $("filter").value; again(); });
  $("back").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  $("compare").addEventListener("click", () => openPair(...state.chosen));
  for (const axis of DATA.axes) {
    const found = levels(axis);
    if (found.length > 40) continue;
    const select = make("select", { onchange: () => { wanted.set(axis, select.value); again(); } }, make("option", { value: "" }, "all"), ...found.map((one) => make("option", { value: one }, one)));
    $("axes").append(make("label", {}, title(axis), select));
  }
  for (const column of DATA.columns.filter((one) => one.values && one.name !== "key")) {
    const box = make("input", { type: "checkbox", checked: visibleColumns.has(column.name), onchange: () => { visibleColumns[box.checked ? "add" : "delete"](column.name); shapeTable(); drawTable(); } });
    $("columns").append(make("label", {}, box, column.title));
  }
  startMenu();
  listeners.push(again);
  shapeTable();
  again();
}
