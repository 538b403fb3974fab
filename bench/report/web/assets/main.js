// Groups, light and dark, and the start of all parts.
function drawGroups() {
  const levels = Object.keys(DATA.colours[state.by] || {});
  $("groups").replaceChildren(...levels.map((one) => {
    const choose = () => { state.group = state.group === one ? null : one; press(); changed(); };
    return make("button", { type: "button", onclick: choose, "aria-pressed": String(state.group === one), "data-level": one }, make("span", { className: "dot", style: `background:${style(state.by, one)[0]}` }), one);
  }));
}

function press() {
  $("groups").querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.level === state.group)));
}

function startTheme() {
  const root = document.documentElement, button = $("theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const say = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", (dark() ? "Light" : "Dark") + " colours"); };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; say(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", say);
  say();
}

function startGroups() {
  $("by").append(...Object.keys(DATA.colours).filter((axis) => Object.keys(DATA.colours[axis]).length > 1).map((axis) => make("option", { value: axis }, title(axis))));
  $("by").value = state.by;
  $("by").addEventListener("change", () => { state.by = $("by").value; state.group = null; drawGroups(); changed(); drawCharts(); });
  drawGroups();
}

// Paper has no arrow to open a closed table with.
function startPrint() {
  let opened = [];
  addEventListener("beforeprint", () => { opened = [...document.querySelectorAll("main details:not(.menu):not([open])")]; opened.forEach((one) => { one.open = true; }); });
  addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
}

document.documentElement.classList.add("js");
startPrint();
if (matchMedia("(max-width: 62rem)").matches) document.querySelector(".toc details").open = false;
startTheme();
if (ROWS && KEYS) {
  startGroups();
  startTable();
  startPictures();
  startCharts();
} else {
  $("explore")?.remove();
}
