// All of a cell, and two cells side by side.
function facts(pairs) {
  return make("dl", { className: "facts" }, ...pairs.flatMap(([what, text, won]) => [make("dt", {}, what), make("dd", { className: won ? "won" : "" }, text)]));
}

const inGroupOf = (group, row) => DATA.columns.filter((column) => column.group === group && value(column.name, row) !== null && value(column.name, row) !== "");

function lossCurve(row) {
  const job = DATA.jobs[level("job", row)];
  const errors = job ? job.epochs.eps_mse.filter((one) => one !== null) : [];
  if (!errors.length) return make("p", { className: "note" }, "No loss is on record.");
  const space = "http://www.w3.org/2000/svg", wide = 320, high = 130, edge = 40;
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  svg.setAttribute("class", "line");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "Held-out error of the predicted noise, from " + errors[0] + " after epoch 1 to " + errors.at(-1) + " after epoch " + errors.length);
  const top = Math.max(...errors), low = Math.min(...errors), span = top - low || 1;
  const x = (i) => edge + (errors.length > 1 ? (i * (wide - edge - 10)) / (errors.length - 1) : 0);
  const y = (one) => 12 + ((top - one) * (high - 40)) / span;
  const add = (tag, given, text = "") => { const one = document.createElementNS(space, tag); Object.entries(given).forEach(([k, v]) => one.setAttribute(k, v)); one.textContent = text; svg.append(one); };
  add("line", { x1: edge, x2: wide - 10, y1: high - 22, y2: high - 22, class: "axis" });
  add("polyline", { points: errors.map((one, i) => `${x(i)},${y(one)}`).join(" ") });
  add("text", { x: 0, y: 16 }, top.toPrecision(3));
  add("text", { x: 0, y: y(low) + 4 }, low.toPrecision(3));
  add("text", { x: edge, y: high - 6 }, "epoch 1");
  add("text", { x: wide - 10, y: high - 6, "text-anchor": "end" }, String(errors.length));
  return svg;
}

function command(row) {
  return make("pre", { tabIndex: 0 }, make("code", {}, `ddpm-bench sample ${key(row)} --results ${DATA.results} -n 64 --seed 1`));
}

function show(text, ...inner) {
  const dialog = $("cell");
  $("hover").hidden = true;
  const close = make("button", { type: "button", onclick: () => dialog.close() }, "Close");
  dialog.replaceChildren(make("div", { className: "head" }, make("h2", { id: "cell-title" }, text), close), ...inner);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function siblings(row) {
  const same = DATA.axes.filter((axis) => axis !== "sample_steps").concat(["seed"]);
  const found = [];
  for (let other = 0; other < ROWS; other++) if (same.every((axis) => level(axis, other) === level(axis, row))) found.push(other);
  return found.sort((a, b) => value("sample_steps", a) - value("sample_steps", b));
}

function slider(row) {
  const of = siblings(row);
  if (of.length < 2) return null;
  const range = make("input", { type: "range", min: 0, max: of.length - 1, step: 1, value: of.indexOf(row), id: "cell-steps", oninput: () => {
    openCell(of[Number(range.value)]);
    $("cell-steps").focus();
  } });
  range.setAttribute("aria-valuetext", level("sample_steps", row) + " steps");
  return make("label", { className: "wide" }, "Steps", range, make("output", {}, level("sample_steps", row)));
}

function openCell(row) {
  const metrics = inGroupOf("metrics", row).map((column) => [column.title, said(column.name, row)]);
  const setting = [...inGroupOf("configuration", row).map((column) => [column.title, said(column.name, row)]), ...Object.entries(DATA.train).filter(([, one]) => one !== null).map(([what, one]) => ["train: " + what, String(one)])];
  const rest = [...inGroupOf("time and size", row), ...inGroupOf("provenance", row)].map((column) => [column.title, said(column.name, row)]);
  const strip = DATA.strips[key(row)];
  show(name(row),
    make("p", { className: "big" }, "FID " + said("fid", row) + " ", make("small", {}, DATA.floor === null ? "" : "real images: " + Number(DATA.floor.toPrecision(3)))),
    make("div", { className: "bar" }, slider(row)),
    make("div", { className: "pair" },
      make("div", {}, samples(row), picture(row) ? make("p", { className: "note" }, "The first 64 samples, not selected.", DATA.compressed ? " Compressed for this page." : "") : ""),
      make("div", {}, make("h3", {}, "Metrics"), facts(metrics), make("h3", {}, "Held-out error by epoch"), lossCurve(row))),
    strip ? make("div", {}, make("h3", {}, "Denoising"), make("img", { src: strip, alt: "Six samples from noise to image; for each, x_t above the predicted image", className: "pixels", style: "max-width:34rem" })) : null,
    make("div", { className: "pair" }, make("div", {}, make("h3", {}, "Configuration"), facts(setting)), make("div", {}, make("h3", {}, "Time, size, provenance"), facts(rest))),
    make("h3", {}, "Draw more from it"), command(row), make("p", { className: "note" }, "This needs the weights in the folder checkpoints of the results."));
}

function openPair(one, other) {
  const noise = level("sample_seed", one) === level("sample_seed", other);
  const side = (row, against) => make("div", {}, make("h3", {}, name(row)), make("p", { className: "big" }, "FID " + said("fid", row)), samples(row),
    facts([...inGroupOf("configuration", row).filter((column) => level(column.name, row) !== level(column.name, against)), ...inGroupOf("metrics", row)].map((column) => {
      const mine = value(column.name, row), its = value(column.name, against);
      return [column.title, said(column.name, row), column.better && mine !== null && its !== null && mine !== its && (column.better === "lower") === (mine < its)];
    })));
  show("Two cells side by side",
    make("p", { className: "note" }, noise ? "Both start from the same noise: each picture stands at the same place in both. The better number is bold." : "They start from different noise. The better number is bold."),
    make("div", { className: "pair" }, side(one, other), side(other, one)));
}
