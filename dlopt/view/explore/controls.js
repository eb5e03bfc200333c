// A row for one number: label, slider, and the number itself to be typed. A slider has 200 places.

const PLACES = 200, DECADES = 4, ZERO = 0.02;

// Where a value stands on its slider, from 0 to 1.
const place = {
  log: (c, x) => Math.log(x / c.low) / Math.log(c.high / c.low),
  "from zero": (c, x) => x <= 0 ? 0 : ZERO + (1 - ZERO) * Math.max(0, place.log(c, x)),
  "near one": (c, x) => -Math.log10(Math.max(1 - x, 1e-9)) / DECADES,
  linear: (c, x) => (x - c.low) / (c.high - c.low),
  whole: (c, x) => (x - c.low) / (c.high - c.low),
};

// The value at a place; with fewer digits than three, neighbouring places would have the same.
const valueAt = {
  log: (c, s) => Number((c.low * (c.high / c.low) ** s).toPrecision(3)),
  "from zero": (c, s) => s < ZERO / 2 ? 0 : valueAt.log(c, Math.max(0, (s - ZERO) / (1 - ZERO))),
  "near one": (c, s) => s === 0 ? 0 : Number((1 - Number((10 ** (-DECADES * s)).toPrecision(3))).toPrecision(7)),
  linear: (c, s) => Number((c.low + s * (c.high - c.low)).toPrecision(3)),
  whole: (c, s) => Math.round(c.low + s * (c.high - c.low)),
};

// What was typed, if it is a number that the control takes; NaN if not.
function typed(control, text) {
  const tidy = text.trim().replace("\u2212", "-").replace(",", "."), value = Number(tidy);
  const fits = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(tidy) && value >= control.least && value <= control.most;
  return fits && (control.kind !== "whole" || Number.isInteger(value)) ? value : NaN;
}

// `of` says whose it is, for readers who hear it. `show(value)` brings it up to date.
function numberRow(control, of, changed) {
  const id = freshId(), name = of ? `${control.label} of ${of}` : control.label;
  const slider = make("input", {type: "range", id, min: 0, max: PLACES, step: 1});
  const box = make("input", {
    type: "text", inputmode: "decimal", "aria-label": `${name}, typed`, spellcheck: "false", autocomplete: "off",
  });
  const label = make("label", {for: id}, make("span", {class: "name"}, control.label));
  if (control.symbol) label.append(" ", make("i", {"aria-hidden": "true"}, control.symbol));
  let shown = NaN;
  const show = (value) => {
    if (value === shown) return; // while a path is dragged, most values stay
    shown = value;
    const at = place[control.kind](control, value);
    slider.value = String(Math.round(PLACES * Math.min(1, Math.max(0, at))));
    slider.setAttribute("aria-valuetext", `${short(value)}`);
    if (box !== document.activeElement) box.value = String(Number(value.toPrecision(7)));
    box.removeAttribute("aria-invalid");
  };
  slider.addEventListener("input", () => changed(valueAt[control.kind](control, slider.value / PLACES)));
  box.addEventListener("input", () => {
    const value = typed(control, box.value);
    box.toggleAttribute("aria-invalid", false);
    if (Number.isNaN(value)) box.setAttribute("aria-invalid", "true");
    else changed(value);
  });
  box.addEventListener("blur", () => {
    const value = shown;
    shown = NaN;
    show(value);
  });
  return {row: make("div", {class: "row"}, label, slider, box), show};
}

function switchRow(control, changed) {
  const box = make("input", {type: "checkbox", onchange: () => changed(box.checked)});
  const show = (value) => { box.checked = value; };
  return {row: make("label", {class: "row switch"}, box, make("span", {class: "name"}, control.label)), show};
}

function menuRow(control, of, changed) {
  const {menu, show} = menuOf(`${control.label} of ${of}`, control.options, changed);
  return {row: make("div", {class: "row menu"}, make("span", {class: "name"}, control.label), menu), show};
}

// A menu of words, each shown as it is called.
function menuOf(label, words, changed) {
  const menu = make("select", {"aria-label": label, onchange: () => changed(menu.value)});
  for (const word of words) menu.append(make("option", {value: word}, word));
  return {menu, show: (word) => { menu.value = word; }};
}

// The control that fits a hyperparameter.
function controlRow(control, of, changed) {
  if (control.kind === "switch") return switchRow(control, changed);
  return control.kind === "menu" ? menuRow(control, of, changed) : numberRow(control, of, changed);
}
