// The schedule explorer: up to four schedules, their learning rates, what they do to SGD on a noisy quadratic,
// computed in the page, and what they did to a network, recorded.

const KEYS = ["schedules", "lr", "momentum", "noise", "steps", "seed", "step", "recorded"];
const SHARED = [
  {key: "lr", label: "lr", symbol: "\u03b3", kind: "log", low: 1e-4, high: 1, least: 1e-9, most: 1e3},
  {key: "momentum", label: "momentum", symbol: "\u03bc", kind: "near one", low: 0, high: 0.999, least: 0, most: 0.9999},
  {key: "noise", label: "noise", symbol: "\u03c3", kind: "from zero", low: 1e-3, high: 100, least: 0, most: 1e6},
  {key: "steps", label: "steps", kind: "whole", low: 10, high: 1000, least: 2, most: 2000},
  {key: "seed", label: "seed", kind: "whole", low: 0, high: 100, least: 0, most: 1e6},
];

function render({model, el}) {
  el.classList.add("dlopt-explorer");
  const explorer = new ScheduleView(model, el);
  return () => explorer.end();
}

class ScheduleView extends ExplorerView {
  keys = KEYS;
  kept = new Map();

  constructor(model, el) {
    super();
    this.begin(model, el);
  }

  readTables() {
    super.readTables();
    this.kept.clear();
  }

  get most() {
    return this.state.steps;
  }

  build() {
    const edit = editsOf(() => this.state.schedules, (schedules) => this.set({schedules}), () => this.tables.schedules,
      (name) => ({name, hyper: {}}), ["cosine", "constant", "step", "warmup_stable_decay"]);
    this.panel = panelOf("schedule", edit);
    this.shared = sharedRows(SHARED, (values) => this.set("steps" in values ? {...values, step: values.steps} : values));
    this.rates = menuOf("learning rate of the recorded runs", this.tables.record.config.rates, (word) => this.set({recorded: word}));
    this.charts = ["rate", "live", "record"].map((kind) => make("canvas", {role: "img", class: `chart ${kind}`}));
    const [rate, live, record] = this.charts.map((chart) => make("div", {class: "losses"}, chart));
    const {config, machine} = this.tables.record;
    live.append(make("p", {class: "source"}, `Computed in this page: SGD on a quadratic of condition ${this.tables.condition}, the mean of ${this.tables.runs} runs.`));
    record.append(make("p", {class: "source"}, `Recorded, not computed here: ${config.task}, ${config.optimizer} with momentum ${config.momentum}, `
      + `batches of ${config.batch_size}, the mean of ${config.seeds.length} seeds (${machine.date.slice(0, 10)}, ${machine.cpu}). lr `, this.rates.menu));
    this.rootOf(make("div", {class: "pictures schedules"}, rate, live, record), this.player(), this.panel.cards, this.shared.element,
      this.sharing(this.panel.add));
  }

  listenToPointer() {
    this.charts.forEach((chart, k) => dragged(chart, () => chart, () => {}, ([px]) => {
      const step = this.frames[k].stepAt(px);
      this.seek(k === 2 ? step * this.tables.record.config.every : step);
    }));
  }

  draw() {
    this.frame = null;
    if (this.ended) return;
    const colours = coloursOf(this.root), state = this.state;
    if (!colours.ink) return this.soon(); // a notebook brings the style sheet a little later
    const step = Math.min(state.step, state.steps), runs = this.runsOf(state);
    this.drawCharts(runs, state, step, colours);
    this.showPlayer(step);
    this.shared.update(state);
    this.rates.show(state.recorded);
    this.panel.update(this.tables.version, this.tables.schedules, state.schedules, colours, runs.map((run) => this.text(run, state, step)));
    this.tell(runs.flatMap(({name, error, loss, record}) => {
      if (error) return [`${name}: ${error}`];
      const bad = diverged(loss), lost = record ? diverged(record.mean) : -1;
      return [
        ...(bad < 0 ? [] : [`${name} diverges on the quadratic by step ${bad}: the learning rate is too large for it.`]),
        ...(lost < 0 ? [] : [`${name} diverged in the recorded run at lr ${state.recorded}.`]),
      ];
    }));
    this.el.dloptFactors = runs.map(({factors}) => factors);
    this.el.dloptLosses = runs.map(({loss}) => loss);
  }

  // Of each schedule its factors, the live loss and the record; what has not changed is kept.
  runsOf(state) {
    const {lr, momentum, noise: sigma, steps, seed} = state, next = new Map();
    const found = state.schedules.map(({name, hyper}) => {
      const key = JSON.stringify([name, hyper, lr, momentum, sigma, steps, seed]);
      const run = this.kept.get(key) ?? this.runOf(name, hyper, {lr, momentum, sigma, seed, steps});
      next.set(key, run);
      return {...run, record: this.recordOf(name, hyper, state)};
    });
    this.kept = next;
    return found;
  }

  runOf(name, hyper, settings) {
    const entry = this.tables.schedules[name];
    const {factors, error} = factorsOf(this.tables, name, entry ?? {error: "there is no schedule of this name"}, hyper, settings.steps);
    const loss = error ? new Float64Array(factors.length).fill(NaN) : noisyRuns(this.tables, factors, settings, this.drawn(settings));
    return {name, factors, error, loss};
  }

  // The noise of all runs, which every schedule meets alike.
  drawn({seed, steps}) {
    if (this.noise?.key !== `${seed} ${steps}`) {
      const {runs, noise} = this.tables, drawn = new Float64Array(2 * steps * runs);
      for (let run = 0; run < runs; run++) {
        for (let k = 0; k < steps; k++) drawn.set(noise(k + 1, {seed: seed + run}), 2 * (run * steps + k));
      }
      this.noise = {key: `${seed} ${steps}`, drawn};
    }
    return this.noise.drawn;
  }

  // The recorded run of exactly these settings, or null.
  recordOf(name, hyper, {recorded, steps}) {
    const {record: {config, runs}, schedules} = this.tables, group = schedules[name]?.made?.group;
    if (!group || steps !== config.steps) return null;
    const same = (settings) => JSON.stringify({...group, ...settings}) === JSON.stringify({...group, ...hyper});
    const run = runs.find((each) => each.name === name && same(each.settings));
    if (!run) return null;
    const number = (value) => value === null ? NaN : value, all = run.losses[recorded].map((one) => one.map(number));
    const mean = all[0].map((_, k) => all.reduce((sum, one) => sum + one[k], 0) / all.length);
    return {mean, all, accuracy: run.accuracy[recorded]};
  }

  drawCharts(runs, state, step, colours) {
    const {config} = this.tables.record, {lr} = state;
    const walk = (loss) => ({loss, finite: diverged(loss) < 0 ? loss.length : diverged(loss)});
    const drawings = [
      [runs.map(({factors}) => walk(factors.map((factor) => lr * factor))), null, "learning rate, by step", step, state.steps, 1],
      [runs.map(({loss}) => walk(loss)), 0, "computed: loss on a noisy quadratic", step, state.steps, 1],
      [runs.map(({record}) => walk(record?.mean ?? [NaN])), 0, "recorded: training loss on digits", Math.min(config.steps, step) / config.every, config.steps / config.every, config.every],
    ];
    this.frames = drawings.map(([walks, minimum, title, at, steps, per], k) => {
      const chart = this.charts[k], width = chart.parentElement.clientWidth, height = k ? 200 : 220;
      const context = sized(chart, width, height);
      chart.style.height = `${height}px`;
      const spoken = runs.map(({name}, n) => walks[n].finite ? `${name} from ${short(walks[n].loss[0])} to ${short(walks[n].loss[walks[n].finite - 1])}` : `${name} has none`);
      chart.setAttribute("aria-label", `${title}: ${spoken.join("; ")}.`);
      return drawLoss(context, width, height, {minimum}, walks, {steps, step: Math.round(at), axis: {per, title}}, colours);
    });
  }

  text({error, factors, loss, record}, {lr, recorded}, step) {
    if (error) return "does not run";
    const parts = [`rate ${short(lr * factors[step])}`, `computed loss ${short(loss[step])}`];
    if (!record) return [...parts, "no run was recorded with these settings"].join(" \u00b7 ");
    const ends = record.all.map((one) => one.at(-1)), range = `${short(Math.min(...ends))} to ${short(Math.max(...ends))}`;
    const accuracy = record.accuracy.reduce((a, b) => a + b, 0) / record.accuracy.length;
    return [...parts, `recorded at lr ${recorded}: ends at ${range}, test accuracy ${(100 * accuracy).toFixed(1)} %`].join(" \u00b7 ");
  }

  sensible(given) {
    const {schedules, record} = this.tables;
    return SHARED.every(({key, kind, least, most}) => numberIn(given[key], least, most, kind === "whole"))
      && numberIn(given.step, 0, given.steps) && record.config.rates.includes(given.recorded)
      && given.schedules?.length >= 1 && given.schedules.length <= MOST
      && given.schedules.every(({name, hyper}) => knownIn(schedules, name) && sensibleHyper(schedules[name], hyper));
  }

  pythonCall() {
    const {schedules, ...rest} = this.state, own = ({name}) => this.tables.schedules[name]?.own;
    const pairs = schedules.map((each) => own(each) ? each.name : `(${python(each.name)}, ${python(each.hyper)})`);
    const values = ["lr", "momentum", "noise", "steps", "seed", "step"].map((key) => `${key}=${rest[key]}`);
    return `explore.schedule(\n    [${pairs.join(", ")}],\n    ${values.join(", ")}, recorded=${python(rest.recorded)},\n)`;
  }
}

// Where a loss is lost, or -1.
const diverged = (loss) => loss.findIndex((value) => !(Math.abs(value) < 1e9));
