// The state of the landscape explorer: what makes sense, what fits a landscape, the call that makes it.

const KEYS = ["landscape", "start", "optimizers", "steps", "noise", "seed", "step", "view"];
const SHARED = [
  {key: "steps", label: "steps", kind: "whole", low: 1, high: 1000, least: 1, most: 5000},
  {key: "noise", label: "noise", symbol: "\u03c3", kind: "from zero", low: 1e-3, high: 100, least: 0, most: 1e6},
  {key: "seed", label: "seed", kind: "whole", low: 0, high: 100, least: 0, most: 2 ** 24},
];

// A learning rate that fits the landscape.
function withRate(tables, landscape, name, hyper = {}) {
  const entry = tables.optimizers[name], rates = tables.landscapes[landscape].rates;
  return {name, hyper: entry?.made && "lr" in entry.made.group ? {...hyper, lr: rates[entry.rate]} : hyper};
}

// Another landscape: its own start and learning rates of its scale, or what was `left` there; the rest as it was.
function moved(tables, landscape, {optimizers}, left) {
  const names = (list) => JSON.stringify(list?.map(({name}) => name)), same = names(left?.optimizers) === names(optimizers);
  const fitted = optimizers.map(({name, hyper}, k) => {
    const before = same ? left.optimizers[k].hyper : {};
    return "lr" in before && "lr" in hyper ? {name, hyper: {...hyper, lr: before.lr}} : withRate(tables, landscape, name, hyper);
  });
  return {landscape, start: left?.start ?? tables.landscapes[landscape].start, optimizers: fitted};
}

// The call that makes this state; what is the reader's own goes by its name.
function pythonCall(tables, {landscape, start, optimizers, steps, noise, seed, step, view}) {
  const pairs = optimizers.map(({name, hyper}) =>
    `(${tables.optimizers[name]?.own ? name : python(name)}, ${python(hyper)})`);
  return `explore.landscape(\n    ${tables.landscapes[landscape].written},\n    start=(${start.join(", ")}),\n    optimizers=[${pairs.join(", ")}],\n`
    + `    steps=${steps}, noise=${noise}, seed=${seed}, step=${step}, view=${python(view)},\n)`;
}

function sensible(tables, given) {
  return knownIn(tables.landscapes, given.landscape) && given.start?.length === 2
    && given.start.every((x) => numberIn(x, -1e9, 1e9, false)) && numberIn(given.steps, 1, 5000)
    && numberIn(given.noise, 0, 1e6, false) && numberIn(given.seed, 0, 2 ** 24) && numberIn(given.step, 0, given.steps)
    && ["plane", "solid"].includes(given.view) && given.optimizers?.length >= 1 && given.optimizers.length <= MOST
    && given.optimizers.every(({name, hyper}) => knownIn(tables.optimizers, name) && sensibleHyper(tables.optimizers[name], hyper));
}
