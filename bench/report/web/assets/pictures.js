// Every model's samples from the same noise; a slider says in how many steps.
const MOST_MODELS = 12;

function startPictures() {
  const rows = Array.from({ length: ROWS }, (_, row) => row).filter((row) => picture(row));
  const seed = level("seed", rows.reduce((a, b) => (value("seed", b) < value("seed", a) ? b : a), rows[0] ?? 0));
  const mine = rows.filter((row) => level("seed", row) === seed);
  if (!mine.length) { $("pictures").append(make("p", { className: "note" }, "No pictures were kept.")); return; }
  const others = DATA.axes.filter((axis) => axis !== "sample_steps" && axis !== "method");
  const samplers = [...new Set(mine.map((row) => level("method", row)))];
  $("sampler").append(...samplers.map((one) => make("option", { value: one }, one)));
  const model = (row) => others.map((axis) => level(axis, row)).join(", ") || key(row);
  const made = new Map(); // a picture that was seen once is there at once
  let steps = [];

  function card(row) {
    if (!made.has(row)) {
      const all = make("button", { type: "button", onclick: () => openCell(row), "aria-label": "All of it: " + name(row) }, "All of it");
      made.set(row, make("div", {}, make("p", {}, make("strong", {}, model(row))), samples(row, model(row)), make("p", {}, "FID " + said("fid", row) + " ", all)));
    }
    return made.get(row);
  }

  function draw() {
    const now = steps[Number($("steps").value)];
    $("steps-said").textContent = String(now ?? "");
    $("steps").setAttribute("aria-valuetext", now + " steps");
    const seen = new Map();
    for (const row of mine) {
      if (level("method", row) !== $("sampler").value || value("sample_steps", row) !== now || !inGroup(row)) continue;
      if (!seen.has(model(row))) seen.set(model(row), row);
    }
    $("pictures").replaceChildren(...[...seen.values()].slice(0, MOST_MODELS).map(card));
    if (!seen.size) $("pictures").append(make("p", { className: "note" }, "No picture of this group, sampler and number of steps."));
  }

  function sampler() {
    steps = [...new Set(mine.filter((row) => level("method", row) === $("sampler").value).map((row) => value("sample_steps", row)))].sort((a, b) => a - b);
    $("steps").max = steps.length - 1;
    $("steps").value = steps.length - 1;
    draw();
  }
  $("sampler").addEventListener("change", sampler);
  $("steps").addEventListener("input", draw);
  listeners.push(draw);
  sampler();
}
