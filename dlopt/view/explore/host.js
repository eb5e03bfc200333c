// What every explorer stands on: a page's stand-in for the widget's model, the theme, elements, canvases.

// On a page without a kernel: `host` holds the still, `code` is a function that returns the tables.
function standAlone(host, state, code) {
  const still = host.querySelector(".still");
  try {
    render({model: standIn(state, code), el: host});
    still?.remove();
  } catch (error) {
    host.append(make("p", {class: "messages"}, `The explorer did not start: ${error.message}`));
    throw error;
  }
}

// The four calls of a widget's model that an explorer makes.
function standIn(state, code) {
  const values = {...state, code}, heard = {};
  return {
    alone: true,
    get: (key) => values[key],
    set(key, value) {
      if (JSON.stringify(values[key]) === JSON.stringify(value)) return;
      values[key] = value;
      for (const listener of heard[`change:${key}`] ?? []) listener();
    },
    on(events, listener) {
      for (const event of events.split(" ")) (heard[event] ??= []).push(listener);
    },
    off(events, listener) {
      for (const event of events.split(" ")) heard[event] = (heard[event] ?? []).filter((l) => l !== listener);
    },
    save_changes() {},
  };
}

// The translated Python: a kernel sends text, a page has it in its script.
function tablesOf(model) {
  const code = model.get("code");
  return typeof code === "string" ? new Function(code)() : code();
}

let made = 0;
const freshId = () => `dlopt-explorer-${++made}-${Math.random().toString(36).slice(2, 8)}`;

// An element; attributes that begin with "on" are listeners, false and null are left out.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// A picture on a button, from the shapes of an SVG path in a box of 16 by 16.
function icon(shapes) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [key, value] of Object.entries({viewBox: "0 0 16 16", "aria-hidden": "true", class: "icon"})) svg.setAttribute(key, value);
  path.setAttribute("d", shapes);
  svg.append(path);
  return svg;
}

function themeOfPage() {
  const named = document.documentElement.dataset.theme;
  if (named === "dark" || named === "light") return named;
  const lab = document.body.dataset.jpThemeLight;
  if (lab) return lab === "false" ? "dark" : "light";
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

// Keeps `root.dataset.colors` at the page's theme; returns what ends it.
function followTheme(root, changed) {
  const media = matchMedia("(prefers-color-scheme: dark)");
  const look = () => {
    if (root.dataset.colors === themeOfPage()) return;
    root.dataset.colors = themeOfPage();
    changed();
  };
  const observer = new MutationObserver(look);
  observer.observe(document.documentElement, {attributes: true, attributeFilter: ["data-theme"]});
  observer.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light"]});
  media.addEventListener("change", look);
  look();
  return () => {
    observer.disconnect();
    media.removeEventListener("change", look);
  };
}

// The style sheet is the one place for colours: a canvas reads them from it.
function coloursOf(root) {
  const style = getComputedStyle(root), value = (name) => style.getPropertyValue(name).trim();
  return {
    theme: root.dataset.colors,
    ink: value("--ink"), muted: value("--muted"), line: value("--line"), halo: value("--halo"),
    contour: value("--contour"),
    ramp: [0, 1, 2, 3, 4].map((k) => value(`--field-${k}`)),
    series: [0, 1, 2, 3].map((k) => value(`--series-${k}`)),
    font: `12px ${style.fontFamily}`,
  };
}

// A canvas as sharp as the screen, `width` by `height` in CSS pixels; returns its context, cleared.
function sized(canvas, width, height) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const w = Math.round(width * ratio), h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, {width: w, height: h});
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// Round numbers for an axis from `low` to `high`, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((k) => k * power >= rough) * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

// A number as short as it can be read: four digits, a true minus sign, a power of ten from a million on.
function short(value) {
  if (!Number.isFinite(value)) return String(value);
  const rounded = Number(value.toPrecision(4)), large = Math.abs(rounded) >= 1e6;
  return (large ? rounded.toExponential().replace("e+", "e") : String(rounded)).replaceAll("-", "\u2212");
}

// Copies text; where the clipboard is not to be had, shows it selected. `tell` says which.
async function copy(text, box, tell) {
  try {
    await navigator.clipboard.writeText(text);
    box.hidden = true;
    tell("Copied.");
  } catch {
    box.hidden = false;
    box.value = text;
    box.focus();
    box.select();
    tell("Copying is not allowed here: the text is selected, press Ctrl+C.");
  }
}
