// Linked figures. Plotly is unpacked when the figures come near the window, so that the page itself is there at once.
const MOST_POINTS = 1500;
let plotly = null;

async function unpack() {
  const bytes = Uint8Array.from(atob($("plotly").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  document.head.append(make("script", { textContent: await new Response(stream).text() }));
  plotly = window.Plotly;
}

function points() {
  const rows = [];
  for (let row = 0; row < ROWS; row++) if (value("fid", row) > 0) rows.push(row);
  return rows.length > MOST_POINTS ? rows.slice(0, MOST_POINTS) : rows;
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

function scatter(x, rows) {
  return [...grouped(rows.filter((row) => value(x, row) > 0))].map(([one, of]) => ({
    type: "scatter", mode: "markers", name: one, showlegend: false, hoverinfo: "none",
    x: of.map((row) => value(x, row)), y: of.map((row) => value("fid", row)), customdata: of,
    marker: { color: style(state.by, one)[0], symbol: style(state.by, one)[1], size: 9, line: { width: 0.8, color: "#ffffff" } },
  }));
}

function losses() {
  const seen = new Map();
  for (let row = 0; row < ROWS; row++) {
    const job = level("job", row);
    if (DATA.jobs[job] && DATA.jobs[job].epochs.eps_mse.length && !seen.has(job)) seen.set(job, row);
    if (seen.size >= 120) break;
  }
  return [...seen].map(([job, row]) => {
    const one = level(state.by, row), errors = DATA.jobs[job].epochs.eps_mse;
    return { type: "scatter", mode: "lines+markers", name: one, showlegend: false, hoverinfo: "none", x: errors.map((_, i) => i + 1), y: errors, customdata: errors.map(() => row),
      line: { color: style(state.by, one)[0], width: 1.6 }, marker: { color: style(state.by, one)[0], symbol: style(state.by, one)[1], size: 5 } };
  });
}

function layout(x, y, log, ticks) {
  const look = getComputedStyle(document.documentElement);
  const [ink, line] = ["--soft", "--line"].map((one) => look.getPropertyValue(one).trim());
  const axis = { gridcolor: line, linecolor: line, zeroline: false, tickfont: { color: ink, size: 11 }, title: { font: { color: ink, size: 12 } } };
  const steps = ticks ? { tickvals: ticks, ticktext: ticks.map(String), minor: { ticks: "" } } : {};
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 56, r: 12, t: 10, b: 54 }, hovermode: "closest", dragmode: "zoom",
    xaxis: { ...axis, type: log[0], title: { ...axis.title, text: x }, ...steps }, yaxis: { ...axis, type: log[1], title: { ...axis.title, text: y }, nticks: 6 },
  };
}

const CHARTS = {
  "chart-steps": () => { const ticks = [...new Set(points().map((row) => value("sample_steps", row)))].sort((a, b) => a - b).filter((one, i, all) => !i || all.length < 8 || i % 2 === 0); return [scatter("sample_steps", points()), layout("sampling steps", "FID", ["log", "log"], ticks)]; },
  "chart-time": () => [scatter("sample_time", points()), layout("s per 1,000 samples", "FID", ["log", "log"])],
  "chart-loss": () => [losses(), layout("epoch", "MSE of ε̂", ["linear", "log"])],
};

function showHover(event) {
  const row = event.points[0].customdata, near = event.event, card = $("hover");
  card.replaceChildren(samples(row), make("strong", {}, "FID " + said("fid", row)), make("div", {}, name(row)));
  card.hidden = false;
  card.style.left = Math.max(8, Math.min(near.clientX + 16, innerWidth - 220)) + "px";
  card.style.top = Math.max(8, Math.min(near.clientY - 120, innerHeight - 320)) + "px";
}

function drawCharts() {
  if (!plotly) return;
  for (const [id, make] of Object.entries(CHARTS)) {
    const [traces, form] = make();
    const first = !$(id).data;
    plotly.react($(id), traces, form, { displaylogo: false, responsive: true, displayModeBar: false });
    if (first) {
      $(id).on("plotly_hover", showHover);
      $(id).on("plotly_unhover", () => { $("hover").hidden = true; });
      $(id).on("plotly_click", (event) => openCell(event.points[0].customdata));
    }
  }
  dim();
}

function dim() {
  if (!plotly) return;
  for (const id of Object.keys(CHARTS)) {
    const opacity = ($(id).data || []).map((trace) => (state.group === null || trace.name === state.group ? 1 : 0.08));
    if (opacity.length) plotly.restyle($(id), { opacity });
  }
}

function startCharts() {
  const all = points().length;
  if (all === MOST_POINTS) { $("chart-note").hidden = false; $("chart-note").textContent = `The figures show the ${MOST_POINTS.toLocaleString("en-GB")} cells with the lowest FID.`; }
  const watch = new IntersectionObserver(async (seen) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    watch.disconnect();
    await unpack();
    drawCharts();
  }, { rootMargin: "400px" });
  watch.observe($("chart-steps"));
  listeners.push(() => requestAnimationFrame(() => setTimeout(dim)));
}
