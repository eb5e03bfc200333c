// The landscape explorer: puts the parts together. The model holds the state; whatever changes it, the picture follows.

const SPEEDS = {"\u00bc\u00d7": 10, "\u00bd\u00d7": 20, "1\u00d7": 40, "2\u00d7": 80, "4\u00d7": 160}; // steps a second
const ICONS = {
  play: "M4 2l10 6-10 6z", pause: "M3 2h4v12H3zM9 2h4v12H9z", back: "M2 2h2v12H2zM14 2v12L5 8z", next: "M12 2h2v12h-2zM2 2l9 6-9 6z",
};
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]};

function render({model, el}) {
  el.classList.add("dlopt-explorer");
  const explorer = new LandscapeView(model, el);
  return () => explorer.end();
}

class LandscapeView extends LandscapeDrawing {
  constructor(model, el) {
    super();
    Object.assign(this, {model, el, walk: walker(), turned: {turn: -0.6, tilt: 0.75}, backs: new Map(), version: 0});
    this.readTables();
    this.build();
    if (model.alone) this.restore();
    this.listen();
    this.draw();
  }

  readTables() {
    this.tables = {...tablesOf(this.model), version: ++this.version};
    this.backs.clear();
  }

  // Sets traits, and tells the kernel.
  set(values) {
    for (const [key, value] of Object.entries(values)) this.model.set(key, value);
    this.model.save_changes();
  }

  get state() {
    return stateOf(this.model);
  }

  build() {
    const set = (values) => this.set(values);
    this.landscape = menuOf("landscape", Object.keys(this.tables.landscapes), (word) => set(moved(this.tables, word, this.state)));
    this.view = menuOf("view", ["plane", "solid"], (word) => set({view: word}));
    this.canvas = make("canvas", {role: "img"});
    this.handle = make("button", {type: "button", class: "handle"}, make("span", {class: "unseen"}, "start"));
    this.picture = make("div", {class: "picture"}, this.canvas, this.handle);
    this.chart = make("canvas", {role: "img", class: "chart"});
    this.source = make("p", {class: "source"});
    this.messages = make("div", {class: "messages", role: "status"});
    this.panel = panelOf(this.edits());
    this.shared = sharedRows((values) => set("steps" in values ? {...values, step: values.steps} : values));
    this.root = make("div", {class: "explorer", "data-lm-suppress-shortcuts": "true"},
      make("div", {class: "bar"}, make("label", {}, "Landscape ", this.landscape.menu), make("label", {}, "View ", this.view.menu),
        ...this.startBoxes(), this.source),
      this.messages,
      make("div", {class: "pictures"}, this.picture, make("div", {class: "losses"}, this.chart)),
      this.player(), this.panel.cards, this.shared.element, this.sharing());
    this.el.append(this.root);
  }

  startBoxes() {
    this.boxes = [0, 1].map((k) => {
      const box = make("input", {type: "text", inputmode: "decimal", "aria-label": `start ${"xy"[k]}`, autocomplete: "off"});
      box.addEventListener("input", () => {
        const value = typed({least: -1e9, most: 1e9}, box.value);
        box.removeAttribute("aria-invalid");
        if (Number.isNaN(value)) box.setAttribute("aria-invalid", "true");
        else this.set({start: this.state.start.map((x, i) => i === k ? value : x)});
      });
      return box;
    });
    return [make("span", {class: "start"}, "Start ", ...this.boxes)];
  }

  // Everything that the cards may do to the list of optimizers.
  edits() {
    const put = (change) => {
      const optimizers = [...this.state.optimizers];
      change(optimizers);
      this.set({optimizers});
    };
    const fitted = (name) => withRate(this.tables, this.state.landscape, name);
    return {
      replace: (k, name) => put((all) => { all[k] = fitted(name); }),
      remove: (k) => put((all) => { all.splice(k, 1); }),
      change: (k, control, value) => put((all) => {
        const {name, hyper} = all[k];
        all[k] = {name, hyper: changed(hyper, this.tables.optimizers[name].made.group, control, value)};
      }),
      add: () => put((all) => {
        const taken = all.map(({name}) => name);
        all.push(fitted(["SGD", "Adam", "RMSprop", "Lion"].find((name) => !taken.includes(name)) ?? "SGD"));
      }),
    };
  }

  player() {
    const button = (label, shapes, onclick) =>
      make("button", {type: "button", class: "round", "aria-label": label, title: label, onclick}, icon(shapes));
    this.play = button("play", ICONS.play, () => this.playing ? this.pause() : this.start());
    const back = button("back to the start", ICONS.back, () => this.seek(0));
    const next = button("one step", ICONS.next, () => this.seek(this.state.step + 1));
    this.slider = make("input", {type: "range", min: 0, step: 1, "aria-label": "step", oninput: () => this.seek(Number(this.slider.value))});
    this.count = make("output", {class: "count"});
    this.speed = menuOf("speed", Object.keys(SPEEDS), () => {});
    this.speed.show("1\u00d7");
    return make("div", {class: "player"}, back, this.play, next, this.slider, this.count, this.speed.menu);
  }

  sharing() {
    const box = make("textarea", {class: "copied", readonly: true, hidden: true, rows: 3, "aria-label": "text to copy"});
    const told = make("span", {class: "told", role: "status"});
    const tell = (text) => { told.textContent = text; };
    const button = (label, text) => make("button", {type: "button", onclick: () => copy(text(), box, tell)}, label);
    const link = this.model.alone ? [button("Copy link", () => linkTo(this.el, this.state))] : [];
    const call = button("Copy Python", () => pythonCall(this.tables, this.state));
    return make("div", {class: "sharing"}, this.panel.add, ...link, call, told, box);
  }

  listen() {
    this.soon = () => {
      this.turning = false;
      this.frame ??= requestAnimationFrame(() => this.draw());
    };
    this.recode = () => {
      this.readTables();
      const options = Object.keys(this.tables.landscapes).map((word) => make("option", {value: word}, word));
      this.landscape.menu.replaceChildren(...options);
      this.soon();
    };
    this.events = KEYS.map((key) => `change:${key}`).join(" ");
    this.model.on(this.events, this.soon);
    this.model.on("change:code", this.recode);
    this.endTheme = followTheme(this.root, () => { this.backs.clear(); this.soon(); });
    this.sizes = new ResizeObserver(this.soon);
    this.sizes.observe(this.root);
    this.onHash = () => this.restore();
    if (this.model.alone) window.addEventListener("hashchange", this.onHash);
    for (const kind of ["keydown", "keyup", "keypress"]) {
      this.root.addEventListener(kind, (event) => { if (!event.ctrlKey && !event.metaKey) event.stopPropagation(); });
    }
    this.listenToPointer();
  }

  listenToPointer() {
    let box = null; // measured when a drag begins: measuring costs a layout
    const local = (event) => [event.clientX - box.left, event.clientY - box.top];
    const dragged = (element, move) => {
      element.addEventListener("pointerdown", (event) => {
        element.setPointerCapture(event.pointerId);
        box = this.canvas.getBoundingClientRect();
        this.last = local(event);
      });
      element.addEventListener("pointermove", (event) => { if (element.hasPointerCapture(event.pointerId)) move(event); });
    };
    dragged(this.handle, (event) => this.state.view === "solid" ? this.turnBy(local(event)) : this.startAt(local(event)));
    dragged(this.canvas, (event) => { if (this.state.view === "solid") this.turnBy(local(event)); });
    dragged(this.chart, (event) => this.seek(this.chartFrame.stepAt(event.offsetX)));
    this.canvas.addEventListener("click", (event) => { if (this.state.view === "plane") this.startAt(local(event)); });
    this.handle.addEventListener("keydown", (event) => {
      const arrow = ARROWS[event.key];
      if (!arrow) return;
      event.preventDefault();
      if (this.state.view === "solid") this.turnBy([this.last[0] + 12 * arrow[0], this.last[1] - 12 * arrow[1]]);
      else this.nudge(arrow, event.shiftKey ? 0.1 : 0.01);
    });
  }

  // The start under the pointer, as exact as the screen shows it, inside the picture.
  startAt([px, py]) {
    const [left, right, low, high] = this.domain, digits = 2 - Math.floor(Math.log10(right - left));
    const tidy = (v, a, b) => Number(Math.max(a, Math.min(b, v)).toFixed(Math.max(0, digits)));
    const [x, y] = this.plane.back(px, py);
    this.set({start: [tidy(x, left, right), tidy(y, low, high)]});
  }

  nudge([dx, dy], part) {
    const [left, right, low, high] = this.domain, {start: [x, y]} = this.state;
    const add = (v, step) => Number((v + step).toPrecision(8));
    this.set({start: [add(x, part * dx * (right - left)), add(y, part * dy * (high - low))]});
  }

  turnBy([px, py]) {
    this.turned.turn += (px - this.last[0]) / 120;
    this.turned.tilt = Math.max(0.15, Math.min(1.5, this.turned.tilt + (py - this.last[1]) / 160));
    this.last = [px, py];
    if (this.frame) return; // all of it is about to be drawn
    this.turning = true;
    this.frame = requestAnimationFrame(() => this.draw());
  }

  get domain() {
    return this.tables.landscapes[this.state.landscape].domain;
  }

  // Playback. Where nothing may move by itself, nothing does until it is asked to.
  start() {
    if (this.state.step >= this.state.steps) this.seek(0);
    this.playing = {from: performance.now(), step: this.state.step};
    this.tick();
  }

  tick() {
    this.ticking = requestAnimationFrame((now) => {
      if (!this.playing) return;
      const gone = (now - this.playing.from) / 1000 * SPEEDS[this.speed.menu.value];
      this.playing = {from: now, step: this.playing.step + Math.max(0, gone)};
      this.model.set("step", Math.min(this.state.steps, Math.floor(this.playing.step)));
      if (this.state.step < this.state.steps) this.tick();
      else this.pause();
    });
    this.soon();
  }

  pause() {
    this.playing = null;
    this.model.save_changes();
    this.soon();
  }

  seek(step) {
    this.playing = null;
    this.set({step: Math.max(0, Math.min(this.state.steps, step))});
    this.soon();
  }

  restore() {
    const state = fromLink(this.el, this.tables);
    if (!state) return;
    this.set(state);
    requestAnimationFrame(() => this.el.scrollIntoView({block: "nearest"}));
  }

  end() {
    this.playing = null;
    this.ended = true;
    this.model.off(this.events, this.soon);
    this.model.off("change:code", this.recode);
    window.removeEventListener("hashchange", this.onHash);
    this.sizes.disconnect();
    this.endTheme();
    this.root.remove();
  }
}
