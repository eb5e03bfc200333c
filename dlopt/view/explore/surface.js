// The surface explorer: recorded loss surfaces, one or two at one scale, and the training paths on them.

const KEYS = ["surface", "beside", "paths", "step", "view", "colour", "probe"];
const NOTHING = "nothing";

function render({model, el}) {
  el.classList.add("dlopt-explorer");
  const explorer = new SurfaceView(model, el);
  return () => explorer.end();
}

class SurfaceView extends ExplorerView {
  keys = KEYS;

  constructor(model, el) {
    super();
    this.begin(model, el);
  }

  readTables() {
    super.readTables();
    const made = Object.values(this.tables.surfaces).map((each) => [each.name, surfaceFrom(each)]);
    this.tables.surfaces = Object.fromEntries(made);
  }

  get two() {
    return this.state.beside !== "";
  }

  // The surfaces that are seen, the first one first.
  get seen() {
    const {surface, beside} = this.state;
    return [surface, beside].filter(Boolean).map((name) => this.tables.surfaces[name]).filter(Boolean);
  }

  get traces() {
    return this.seen[0]?.traces ?? [];
  }

  get most() {
    return Math.max(0, ...this.traces.map(({loss}) => loss.length - 1));
  }

  build() {
    const names = Object.keys(this.tables.surfaces), set = (values) => this.set(values);
    this.surface = menuOf("surface", names, (word) => this.choose(word));
    this.beside = menuOf("beside it", [NOTHING, ...names], (word) => set({beside: word === NOTHING ? "" : word}));
    this.view = menuOf("view", ["plane", "solid"], (word) => set({view: word}));
    this.colour = menuOf("colour", ["log", "linear"], (word) => set({colour: word}));
    this.panes = [0, 1].map((nth) => new Pane(this, nth));
    this.chart = make("canvas", {role: "img", class: "chart"});
    this.pictures = make("div", {class: "pictures"}, ...this.panes.map(({element}) => element), make("div", {class: "losses"}, this.chart));
    this.controls = this.player();
    this.list = make("fieldset", {class: "card paths"});
    const labelled = (text, {menu}) => make("label", {}, `${text} `, menu);
    this.rootOf(make("div", {class: "bar"}, labelled("Surface", this.surface), labelled("Beside it", this.beside),
      labelled("View", this.view), labelled("Colour", this.colour)), this.pictures, this.controls, this.list, this.sharing());
  }

  // Another surface: all of its paths, to their ends.
  choose(name) {
    const {traces} = this.tables.surfaces[name];
    this.set({surface: name, paths: traces.map((trace) => trace.name), step: Math.max(0, ...traces.map(({loss}) => loss.length - 1))});
  }

  renamed() {
    const names = Object.keys(this.tables.surfaces), options = (words) => words.map((word) => make("option", {value: word}, word));
    this.surface.menu.replaceChildren(...options(names));
    this.beside.menu.replaceChildren(...options([NOTHING, ...names]));
    this.listed = null;
  }

  listenToPointer() {
    dragged(this.chart, () => this.chart, () => {}, ([px]) => {
      const step = this.chartFrame?.stepAt(px) ?? 0;
      if (this.most) return this.seek(step);
      const [first] = this.seen, [left, right] = first.domain;
      this.set({probe: [left + step / (first.across - 1) * (right - left), this.state.probe[1]]});
    });
  }

  draw() {
    this.frame = null;
    if (this.ended) return;
    const colours = coloursOf(this.root), {turning} = this;
    if (!colours.ink) return this.soon(); // a notebook brings the style sheet a little later
    this.turning = false;
    const state = {...this.state, step: Math.min(this.state.step, this.most)}, seen = this.seen;
    const scale = scaleOf(seen, state.colour);
    this.pictures.classList.toggle("pair", seen.length > 1);
    this.panes.forEach((pane, k) => {
      pane.element.hidden = !seen[k];
      if (seen[k]) pane.draw(seen[k], scale, walksOn(seen[k], state), state, colours);
    });
    if (turning) return; // nothing else has changed
    this.drawChart(seen, scale, state, colours);
    this.showControls(state, colours);
    this.tell(this.troubles(seen, scale, state));
    this.el.dloptPaths = this.traces.map(({path}) => path);
    this.el.dloptProbe = seen.map((surface) => surface.near(...state.probe)?.loss ?? NaN);
  }

  // Below a surface with paths their loss against step; else a cut through each surface at the height of the probe.
  drawChart(seen, scale, state, colours) {
    const width = this.chart.parentElement.clientWidth;
    if (!width || !seen.length) return;
    const height = seen.length > 1 ? 190 : Math.max(170, Math.min(360, this.panes[0].canvas.clientHeight || 170));
    const context = sized(this.chart, width, height), minimum = scale.log ? 0 : null;
    this.chart.style.height = `${height}px`;
    if (this.most) {
      const walks = this.traces.map((trace) => ({...trace, finite: state.paths.includes(trace.name) ? trace.finite : 0}));
      const axis = {per: this.traces[0].every, title: "training loss at the true points, by step"};
      this.chartFrame = drawLoss(context, width, height, {minimum}, walks, {steps: this.most, step: state.step, axis}, colours);
      this.chart.setAttribute("aria-label", `Loss against step: ${this.traces.map(({name, loss, finite}) =>
        `${name} from ${short(loss[0])} to ${short(loss[finite - 1])}`).join("; ")}.`);
      return;
    }
    const [first] = seen, [left, right] = first.domain, per = (right - left) / (first.across - 1);
    const cuts = seen.map((surface) => cutOf(surface, first, state.probe[1]));
    const axis = {from: left, per, title: `loss on the line y = ${short(first.near(...state.probe)?.y ?? state.probe[1])}`};
    const step = first.near(...state.probe)?.i ?? 0;
    this.chartFrame = drawLoss(context, width, height, {minimum}, cuts, {steps: first.across - 1, step, axis}, colours);
    this.chart.setAttribute("aria-label", `${axis.title}: ${seen.map(({name}, k) =>
      `${name} ${short(Math.min(...cuts[k].loss))} to ${short(Math.max(...cuts[k].loss))}`).join("; ")}.`);
  }

  showControls(state, colours) {
    this.surface.show(state.surface);
    this.beside.show(state.beside || NOTHING);
    this.view.show(state.view);
    this.colour.show(state.colour);
    const traces = this.traces;
    this.controls.hidden = !traces.length;
    if (traces.length) this.showPlayer(state.step, traces[0].every);
    this.showPaths(traces, state, colours);
  }

  // A row for each path: whether it is seen, its loss at this step, and how much of it the plane holds. Where there
  // are two surfaces and no paths, the rows say which line of the cut is whose.
  showPaths(traces, state, colours) {
    const names = traces.length ? traces.map(({name}) => name) : this.seen.map(({name}) => name);
    const wanted = JSON.stringify([names, traces.length, colours.theme]);
    this.list.hidden = names.length < 2 && !traces.length;
    if (this.listed !== wanted) {
      this.listed = wanted;
      this.rows = names.map((name, k) => pathRow(name, badge(k, colours), traces.length > 0, (on) => {
        const now = this.state.paths;
        this.set({paths: on ? [...now, name] : now.filter((each) => each !== name)});
      }));
      const legend = traces.length ? "training paths" : "lines of the cut";
      this.list.replaceChildren(make("legend", {class: "unseen"}, legend), ...this.rows.map(({row}) => row));
    }
    this.rows.forEach(({show}, k) => show(traces.length ? state.paths.includes(names[k]) : true, traces[k] ? pathText(traces[k], state.step) : ""));
  }

  troubles(seen, scale, {colour, surface, beside}) {
    const unknown = [surface, beside].filter((name) => name && !this.tables.surfaces[name]);
    const found = unknown.map((name) => `There is no surface called ${name}.`);
    for (const {name, holes, z} of seen) {
      if (holes === z.length) found.push(`${name} gives no number anywhere (NaN).`);
      else if (holes) found.push(`${name} gives no number at ${holes} of its ${z.length} points, around which the picture is left empty.`);
    }
    if (colour === "log" && !scale.log && Number.isFinite(scale.low)) found.push(`The least loss is ${short(scale.low)}: it has no logarithm, so the colours are linear.`);
    for (const {name, loss, finite, every} of this.traces) {
      if (finite < loss.length) found.push(`${name} diverges: it is not finite after step ${every * (finite - 1)}.`);
    }
    return found;
  }

  sensible(given) {
    const traces = Object.values(this.tables.surfaces).flatMap((surface) => surface.traces), names = traces.map(({name}) => name);
    const most = Math.max(0, ...traces.map(({loss}) => loss.length - 1));
    return knownIn(this.tables.surfaces, given.surface) && (given.beside === "" || knownIn(this.tables.surfaces, given.beside))
      && Array.isArray(given.paths) && given.paths.every((name) => names.includes(name)) && numberIn(given.step, 0, most)
      && ["plane", "solid"].includes(given.view) && ["log", "linear"].includes(given.colour)
      && given.probe?.length === 2 && given.probe.every((v) => numberIn(v, -1e9, 1e9, false));
  }

  pythonCall() {
    const {surface, beside, paths, step, view, colour, probe} = this.state;
    const first = Object.values(this.tables.surfaces).some(({own}) => own) ? "surfaces, " : "";
    return `explore.surface(\n    ${first}surface=${python(surface)}, beside=${python(beside)}, paths=${python(paths)},\n`
      + `    step=${step}, view=${python(view)}, colour=${python(colour)}, probe=(${probe.join(", ")}),\n)`;
  }
}

// What the pictures draw: paths on the surface, the hidden ones without a point.
const walksOn = (surface, {paths}) => surface.traces.map(({name, path, plane, finite}) =>
  ({name, path, loss: plane, finite: paths.includes(name) ? finite : 0}));

// The row of a surface's grid next to `y`, at the grid of `first`.
function cutOf(surface, first, y) {
  const [left, right] = first.domain, row = surface.near(surface.domain[0], y)?.y ?? y;
  const loss = Float64Array.from({length: first.across}, (_, i) => surface.f(left + i / (first.across - 1) * (right - left), row));
  return {loss, finite: loss.length};
}

function pathText({loss, plane, held, finite}, step) {
  const k = Math.min(step, finite - 1);
  const parts = [`loss ${short(loss[k])}`, `in the plane ${short(plane[k])}`, `the plane holds ${Math.round(100 * held)} % of it`];
  return parts.join(" \u00b7 ");
}

function pathRow(name, sign, choice, changed) {
  const box = make("input", {type: "checkbox", onchange: () => changed(box.checked)}), text = make("span", {class: "fate"});
  const row = choice ? make("label", {class: "row switch path"}, box, sign, make("span", {class: "name"}, name), text)
    : make("p", {class: "row switch path"}, sign, make("span", {class: "name"}, name), text);
  return {row, show: (on, said) => { box.checked = on; text.textContent = said; }};
}
