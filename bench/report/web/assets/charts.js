// Linked figures. Plotly is unpacked when the figures come near the window, so that the page itself is there at once.
const MOST_POINTS = 600, MOST_CURVES = 120;
const still = () => new Promise(afterPaint);
let plotly = null, drawing = 0;

async function unpack() {
  const text = atob($("plotly").textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const source = await new Response(stream).text();
  await still();
  document.head.append(make("script", { textContent: source }));
  plotly = window.Plotly;
}

// The cells are in the order of their FID: the first are the best.
const POINTS = [];
for (let row = 0; row < ROWS && POINTS.length < MOST_POINTS; row++) if (value("fid", row) > 0) POINTS.push(row);

const CURVES = new Map(); // training run → its first cell
for (let row = 0; row < ROWS && CURVES.size < MOST_CURVES; row++) {
  const job = level("job", row);
  if (!CURVES.has(job) && DATA.jobs[job] && DATA.jobs[job].epochs.eps_mse.length) CURVES.set(job, row);
}

function grouped(rows) {
  const found = new Map();
  for (const row of rows) {
    const one = level(state.by, row);
    if (!found.has(one)) found.set(one, []);
    found.get(one).push(row);
  }
  return found;
}

function scatter(x) {
  return [...grouped(POINTS.filter((row) => value(x, row) > 0))].map(([one, of]) => ({
    type: "scatter", mode: "markers", name: one, showlegend: false, hoverinfo: "none",
    x: of.map((row) => value(x, row)), y: of.map((row) => value("fid", row)), customdata: of,
    marker: { color: style(state.by, one)[0], symbol: style(state.by, one)[1], size: 9, line: { width: 0.8 } },
  }));
}

function losses() {
  return [...CURVES].map(([job, row]) => {
    const one = level(state.by, row), errors = DATA.jobs[job].epochs.eps_mse;
    return { type: "scatter", mode: "lines+markers", name: one, showlegend: false, hoverinfo: "none", x: errors.map((_, i) => i + 1), y: errors, customdata: errors.map(() => row),
      line: { color: style(state.by, one)[0], width: 1.6 }, marker: { color: style(state.by, one)[0], symbol: style(state.by, one)[1], size: 5 } };
  });
}

// Colours of text and lines are those of the page's style, so that light and dark need no new drawing.
function layout(x, y, log, ticks) {
  const axis = { gridcolor: "#888", linecolor: "#888", zeroline: false, tickfont: { size: 11 }, title: { font: { size: 12 } } };
  const steps = ticks ? { tickvals: ticks, ticktext: ticks.map(String), minor: { ticks: "" } } : {};
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 56, r: 12, t: 10, b: 54 }, hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
    xaxis: { ...axis, type: log[0], title: { ...axis.title, text: x }, ...steps }, yaxis: { ...axis, type: log[1], title: { ...axis.title, text: y }, nticks: 6 },
  };
}

function stepTicks() {
  const found = [...new Set(POINTS.map((row) => value("sample_steps", row)))].sort((a, b) => a - b);
  return found.filter((one, i) => !i || found.length < 8 || i % 2 === 0);
}

const CHARTS = {
  "chart-steps": () => [scatter("sample_steps"), layout("sampling steps", "FID", ["log", "log"], stepTicks())],
  "chart-time": () => [scatter("sample_time"), layout("s per 1,000 samples", "FID", ["log", "log"])],
  "chart-loss": () => [losses(), layout("epoch", "MSE of ε̂", ["linear", "log"])],
};

function showCard(row, x, y) {
  const card = $("hover");
  if (card.dataset.row !== String(row)) card.replaceChildren(samples(row), make("strong", {}, "FID " + said("fid", row)), make("div", {}, name(row)));
  card.dataset.row = row;
  card.hidden = false;
  card.style.left = Math.max(8, Math.min(x + 16, innerWidth - 220)) + "px";
  card.style.top = Math.max(8, Math.min(y - 120, innerHeight - 320)) + "px";
}

const hideCard = () => { $("hover").hidden = true; };

// One figure at a time, and a pause after each, so that the page answers in between.
async function drawCharts() {
  if (!plotly) return;
  const mine = ++drawing;
  for (const [id, draw] of Object.entries(CHARTS)) {
    await still();
    if (mine !== drawing) return;
    const chart = $(id), first = !chart.data, [traces, form] = draw();
    plotly.react(chart, traces, form, { displaylogo: false, responsive: true, displayModeBar: false });
    if (first) {
      chart.on("plotly_hover", (event) => showCard(event.points[0].customdata, event.event.clientX, event.event.clientY));
      chart.on("plotly_unhover", hideCard);
      chart.on("plotly_click", (event) => openCell(event.points[0].customdata));
    }
    dim(id);
  }
}

// Plotly would draw the figure anew to change an opacity; the drawing itself is enough.
function dim(id) {
  $(id).querySelectorAll(".scatterlayer .trace").forEach((drawn, i) => {
    const trace = $(id).data[i];
    drawn.style.opacity = !trace || state.group === null || trace.name === state.group ? "" : 0.08;
  });
}

// The dots of a figure from left to right; of a curve its last one.
function dots(id) {
  const drawn = [...$(id).querySelectorAll(".scatterlayer .trace")], found = new Map();
  ($(id).data || []).forEach((trace, i) => {
    if (state.group !== null && trace.name !== state.group) return;
    const marks = drawn[i].querySelectorAll(".point");
    trace.customdata.forEach((row, k) => found.set(row, { row, mark: marks[k], x: trace.x[k], y: trace.y[k] }));
  });
  return [...found.values()].filter((dot) => dot.mark).sort((a, b) => a.x - b.x || a.y - b.y);
}

// The keyboard's way through a figure: arrows go from dot to dot, Enter opens the cell.
function startKeys(id) {
  let row = null;
  const leave = () => { hideCard(); $(id).querySelectorAll(".near").forEach((one) => one.classList.remove("near")); };
  $(id).addEventListener("blur", leave);
  $(id).addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return leave();
    if ((event.key === "Enter" || event.key === " ") && row !== null) { event.preventDefault(); return openCell(row); }
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    const all = dots(id);
    if (!by || !all.length) return;
    event.preventDefault();
    const at = all.findIndex((dot) => dot.row === row);
    const dot = all[at < 0 ? (by < 0 ? all.length - 1 : 0) : Math.max(0, Math.min(all.length - 1, at + by))];
    row = dot.row;
    leave();
    dot.mark.classList.add("near");
    const place = dot.mark.getBoundingClientRect();
    showCard(row, place.right, place.top);
    $("spoken").textContent = "FID " + said("fid", row) + ", " + name(row);
  });
}

function startCharts() {
  if (POINTS.length === MOST_POINTS) {
    $("chart-note").hidden = false;
    $("chart-note").textContent = `The figures show the ${whole.format(MOST_POINTS)} cells with the lowest FID.`;
  }
  const watch = new IntersectionObserver(async (seen) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    watch.disconnect();
    // Plotly's start takes a second or two on a slow machine, and nothing else happens in it.
    (window.requestIdleCallback || setTimeout)(async () => { await unpack(); drawCharts(); });
  }, { rootMargin: "400px" });
  watch.observe($("chart-steps"));
  Object.keys(CHARTS).forEach(startKeys);
  listeners.push(() => Object.keys(CHARTS).forEach(dim));
}
