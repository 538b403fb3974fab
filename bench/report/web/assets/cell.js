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
  hideCard();
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

// The slider stays while the rest changes: a hand may be on it.
function slider(row, fill) {
  const of = siblings(row);
  if (of.length < 2) return null;
  const say = () => {
    const steps = level("sample_steps", of[Number(range.value)]);
    range.setAttribute("aria-valuetext", steps + " steps");
    told.textContent = steps;
  };
  const range = make("input", { type: "range", min: 0, max: of.length - 1, step: 1, value: of.indexOf(row), id: "cell-steps", oninput: () => { say(); fill(of[Number(range.value)]); } });
  const told = make("output", {});
  say();
  return make("label", { className: "wide" }, "Steps", range, told);
}

function cellTop(row) {
  return [
    make("p", { className: "big" }, "FID " + said("fid", row) + " ", make("small", {}, DATA.floor === null ? "" : "real images: " + Number(DATA.floor.toPrecision(3)))),
    make("div", { className: "pair" },
      make("div", {}, samples(row), shownFor(row) !== undefined ? make("p", { className: "note" }, "The first 64 samples, not selected.", DATA.compressed ? " Compressed for this page." : "") : ""),
      make("div", {}, make("h3", {}, "Metrics"), facts(inGroupOf("metrics", row).map((column) => [column.title, said(column.name, row)])), make("h3", {}, "Held-out error by epoch"), lossCurve(row))),
  ];
}

function cellRest(row) {
  const setting = [...inGroupOf("configuration", row).map((column) => [column.title, said(column.name, row)]), ...Object.entries(DATA.train).filter(([, one]) => one !== null).map(([what, one]) => ["train: " + what, String(one)])];
  const others = [...inGroupOf("time and size", row), ...inGroupOf("provenance", row)].map((column) => [column.title, said(column.name, row)]);
  const strip = DATA.strips[key(row)];
  return [
    strip ? make("div", {}, make("h3", {}, "Denoising"), make("img", { src: strip, alt: "Six samples from noise to image; for each, x_t above the predicted image", className: "pixels", style: "max-width:34rem" })) : null,
    make("div", { className: "pair" }, make("div", {}, make("h3", {}, "Configuration"), facts(setting)), make("div", {}, make("h3", {}, "Time, size, provenance"), facts(others))),
    make("h3", {}, "Draw more from it"), command(row), make("p", { className: "note" }, "This needs the weights in the folder checkpoints of the results."),
  ].filter((one) => one !== null);
}

function openCell(row) {
  const body = make("div", {});
  let here = row;
  const fill = (one) => {
    here = one;
    $("cell-title").textContent = name(one);
    body.replaceChildren(...cellTop(one));
    afterPaint(() => { if (here === one) body.append(...cellRest(one)); }); // what is below the window comes after what is in it
  };
  show(name(row), make("div", { className: "bar" }, slider(row, fill)), body);
  fill(row);
}

function openPair(one, other) {
  const [mine, its] = [shownFor(one), shownFor(other)];
  const pictures = mine !== undefined && its !== undefined;
  const noise = pictures && mine !== its && level("sample_seed", mine) === level("sample_seed", its);
  const side = (row, against) => make("div", {}, make("h3", {}, name(row) + (level("seed", row) === level("seed", against) ? "" : ", seed " + level("seed", row))), make("p", { className: "big" }, "FID " + said("fid", row)),
    mine === its && !picture(row) ? noSamples(row) : samples(row), // the same picture twice would compare nothing
    facts([...inGroupOf("configuration", row).filter((column) => level(column.name, row) !== level(column.name, against)), ...inGroupOf("metrics", row)].map((column) => {
      const here = value(column.name, row), there = value(column.name, against);
      return [column.title, said(column.name, row), column.better && here !== null && there !== null && here !== there && (column.better === "lower") === (here < there)];
    })));
  const words = noise ? "Both start from the same noise: each picture stands at the same place in both. " : pictures && mine !== its ? "They start from different noise. " : "";
  show("Two cells side by side",
    make("p", { className: "note" }, words + "The better number is bold."),
    make("div", { className: "pair" }, side(one, other), side(other, one)));
}
