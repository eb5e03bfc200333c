// The state of the landscape explorer: read from the model, brought into a link, written as Python.

const KEYS = ["landscape", "start", "optimizers", "steps", "noise", "seed", "step", "view"];

const stateOf = (model) => Object.fromEntries(KEYS.map((key) => [key, model.get(key)]));

// A learning rate that fits the landscape.
function withRate(tables, landscape, name, hyper = {}) {
  const entry = tables.optimizers[name], rates = tables.landscapes[landscape].rates;
  return {name, hyper: entry?.made && "lr" in entry.made.group ? {...hyper, lr: rates[entry.rate]} : hyper};
}

// Another landscape: its own start, learning rates of its scale, the other settings as they were.
function moved(tables, landscape, {optimizers}) {
  const fitted = optimizers.map(({name, hyper}) => withRate(tables, landscape, name, hyper));
  return {landscape, start: tables.landscapes[landscape].start, optimizers: fitted};
}

// A value as Python writes it.
function python(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, v]) => `${JSON.stringify(key)}: ${python(v)}`).join(", ")}}`;
}

// The call that makes this state; what is the reader's own goes by its name.
function pythonCall(tables, {landscape, start, optimizers, steps, noise, seed, view}) {
  const where = tables.landscapes[landscape].own ? landscape : python(landscape);
  const pairs = optimizers.map(({name, hyper}) =>
    `(${tables.optimizers[name]?.own ? name : python(name)}, ${python(hyper)})`);
  return `explore.landscape(\n    ${where},\n    start=(${start.join(", ")}),\n    optimizers=[${pairs.join(", ")}],\n`
    + `    steps=${steps}, noise=${noise}, seed=${seed}, view=${python(view)},\n)`;
}

// Each explorer of a page has its own name in a link: explorers are counted from the top.
const nameIn = (host) => `explorer-${[...document.querySelectorAll(".dlopt-explorer")].indexOf(host) + 1}`;

function linkTo(host, state) {
  const bytes = new TextEncoder().encode(JSON.stringify(state));
  const text = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return `${location.href.split("#")[0]}#${nameIn(host)}.${text}`;
}

// The state in the page's address, if it is this explorer's and makes sense; a link may hold anything.
function fromLink(host, tables) {
  const [name, text] = location.hash.slice(1).split(".");
  if (name !== nameIn(host) || !text) return null;
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    return sensible(tables, JSON.parse(new TextDecoder().decode(bytes)));
  } catch {
    return null;
  }
}

function sensible(tables, given) {
  const number = (value, low, high, whole = true) =>
    typeof value === "number" && value >= low && value <= high && (!whole || Number.isInteger(value));
  const known = (table, name) => typeof name === "string" && Object.hasOwn(table, name);
  const fits = known(tables.landscapes, given.landscape) && given.start?.length === 2
    && given.start.every((x) => number(x, -1e9, 1e9, false)) && number(given.steps, 1, 5000)
    && number(given.noise, 0, 1e6, false) && number(given.seed, 0, 2 ** 24) && number(given.step, 0, given.steps)
    && ["plane", "solid"].includes(given.view) && given.optimizers?.length >= 1 && given.optimizers.length <= MOST
    && given.optimizers.every(({name, hyper}) => known(tables.optimizers, name) && sensibleHyper(tables.optimizers[name], hyper));
  return fits ? Object.fromEntries(KEYS.map((key) => [key, given[key]])) : null;
}

// Each value is one that its control would take.
function sensibleHyper({controls, made}, hyper) {
  if (!made) return true; // it does not run, whatever they are
  return Object.entries(hyper).every(([key, value]) => {
    const found = controls.filter((control) => control.key === key);
    const pair = Array.isArray(made.group[key]);
    return found.length > 0 && Array.isArray(value) === pair && (!pair || value.length === found.length)
      && found.every(({index, kind, options, least, most}) => {
        const part = index === null ? value : value[index];
        if (kind === "switch") return typeof part === "boolean";
        return kind === "menu" ? options.includes(part) : typeof part === "number" && part >= least && part <= most;
      });
  });
}
