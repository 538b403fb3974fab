// The table of cells: sorted, filtered, its columns chosen, a page of rows at a time.
const PAGE = 50;
const visibleColumns = new Set(DATA.columns.filter((column) => column.shown && column.values).map((column) => column.name));
const wanted = new Map();
const searchable = DATA.columns.filter((column) => !column.number && column.values);
const texts = Array.from({ length: ROWS }, (_, row) => searchable.map((column) => level(column.name, row)).join(" ").toLowerCase());
const best = new Map(DATA.columns.filter((column) => column.better && column.values).map((column) => {
  const found = column.values.filter((one) => one !== null);
  return [column.name, found.reduce((a, b) => ((column.better === "lower") === (b < a) ? b : a), found[0])];
}));

function conditions(words) {
  const compare = { "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };
  return words.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
    const found = /^([^<>=]+)(<=|>=|<|>|=)(-?[\d.]+(?:e-?\d+)?)$/.exec(word);
    const column = found && DATA.columns.find((one) => one.number && [one.name.toLowerCase(), one.title.toLowerCase().replace(/\s+/g, "_")].includes(found[1]));
    if (!column) return (row) => texts[row].includes(word);
    return (row) => { const here = value(column.name, row); return here !== null && compare[found[2]](here, Number(found[3])); };
  });
}

function choose() {
  const tests = conditions(state.words);
  const exact = [...wanted].filter(([, one]) => one !== "");
  const rows = [];
  for (let row = 0; row < ROWS; row++) {
    if (inGroup(row) && exact.every(([axis, one]) => level(axis, row) === one) && tests.every((test) => test(row))) rows.push(row);
  }
  const column = COLUMNS.get(state.sort);
  if (column) {
    const values = new Map(rows.map((row) => [row, value(state.sort, row)]));
    const sign = state.down ? -1 : 1;
    const compare = column.number ? (a, b) => a - b : (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    const missing = (one) => one === null || one === "";
    rows.sort((a, b) => {
      const one = values.get(a), other = values.get(b);
      if (missing(one) || missing(other)) return missing(one) - missing(other);
      return sign * compare(one, other);
    });
  }
  state.rows = rows;
}

function drawHead() {
  const head = make("tr", {}, make("th", { scope: "col", className: "pick" }, make("span", { className: "unseen" }, "Compare")));
  for (const column of DATA.columns.filter((one) => visibleColumns.has(one.name))) {
    const sorted = state.sort === column.name;
    const mark = sorted ? (state.down ? " ↓" : " ↑") : "";
    const sort = () => {
      state.down = state.sort === column.name && !state.down;
      state.sort = column.name;
      state.page = 0;
      choose(); drawTable();
      $("cells").querySelector(`[data-column="${CSS.escape(column.name)}"]`).focus();
    };
    head.append(make("th", { scope: "col", className: column.number ? "right" : "left", "aria-sort": sorted ? (state.down ? "descending" : "ascending") : "none" },
      make("button", { type: "button", onclick: sort, "data-column": column.name }, column.title + mark)));
  }
  $("cells").tHead.replaceChildren(head);
}

function drawRow(row) {
  const chosen = state.chosen.includes(row);
  const box = make("input", { type: "checkbox", checked: chosen, disabled: !chosen && state.chosen.length > 1, "aria-label": "Compare " + name(row), onclick: (event) => event.stopPropagation(), onchange: () => pick(row) });
  const line = make("tr", { "data-row": row, onclick: () => openCell(row) }, make("td", {}, box));
  for (const column of DATA.columns.filter((one) => visibleColumns.has(one.name))) {
    const isBest = best.has(column.name) && value(column.name, row) === best.get(column.name);
    const cell = make("td", { className: (column.number ? "right" : "left") + (isBest ? " best" : "") });
    if (column.name === "key") cell.append(make("button", { type: "button", "aria-label": key(row).slice(0, 8) + ": all of " + name(row) }, key(row).slice(0, 8)));
    else cell.textContent = said(column.name, row);
    line.append(cell);
  }
  return line;
}

function pick(row) {
  state.chosen = state.chosen.includes(row) ? state.chosen.filter((one) => one !== row) : [...state.chosen, row];
  $("compare").disabled = state.chosen.length !== 2;
  $("cells").querySelectorAll("input").forEach((box) => {
    const here = state.chosen.includes(Number(box.closest("tr").dataset.row));
    box.checked = here;
    box.disabled = !here && state.chosen.length > 1;
  });
}

function drawTable() {
  drawHead();
  const pages = Math.max(1, Math.ceil(state.rows.length / PAGE));
  state.page = Math.min(state.page, pages - 1);
  const from = state.page * PAGE;
  const shown = state.rows.slice(from, from + PAGE);
  $("cells").tBodies[0].replaceChildren(...shown.map(drawRow));
  $("count").textContent = state.rows.length.toLocaleString("en-GB") + " of " + ROWS.toLocaleString("en-GB") + " cells";
  $("where").textContent = shown.length ? `${from + 1}–${from + shown.length}` : "none";
  $("back").disabled = state.page === 0;
  $("next").disabled = state.page >= pages - 1;
}

function startTable() {
  const again = () => { state.page = 0; choose(); drawTable(); };
  $("filter").addEventListener("input", () => { state.words = $("filter").value; again(); });
  $("back").addEventListener("click", () => { state.page--; drawTable(); });
  $("next").addEventListener("click", () => { state.page++; drawTable(); });
  $("compare").addEventListener("click", () => openPair(...state.chosen));
  for (const axis of DATA.axes) {
    const levels = [...new Set(Array.from({ length: ROWS }, (_, row) => level(axis, row)))];
    if (levels.length > 40) continue;
    const select = make("select", { onchange: () => { wanted.set(axis, select.value); again(); } }, make("option", { value: "" }, "all"), ...levels.map((one) => make("option", { value: one }, one)));
    $("axes").append(make("label", {}, title(axis), select));
  }
  for (const column of DATA.columns.filter((one) => one.values && one.name !== "key")) {
    const box = make("input", { type: "checkbox", checked: visibleColumns.has(column.name), onchange: () => { visibleColumns[box.checked ? "add" : "delete"](column.name); drawTable(); } });
    $("columns").append(make("label", {}, box, column.title));
  }
  listeners.push(again);
  again();
}
