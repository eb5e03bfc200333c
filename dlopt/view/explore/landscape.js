// The landscape explorer: puts the parts together. The model holds the state; whatever changes it, the picture follows.

function render({model, el}) {
  el.classList.add("dlopt-explorer");
  const explorer = new LandscapeView(model, el);
  return () => explorer.end();
}

class LandscapeView extends LandscapeDrawing {
  keys = KEYS;
  walk = walker();
  backs = new Map();
  left = new Map(); // by landscape: how the reader left it

  constructor(model, el) {
    super();
    this.begin(model, el);
  }

  readTables() {
    super.readTables();
    this.repaint();
  }

  get most() {
    return this.state.steps;
  }

  sensible(given) {
    return sensible(this.tables, given);
  }

  pythonCall() {
    return pythonCall(this.tables, this.state);
  }

  build() {
    const set = (values) => this.set(values);
    this.landscape = menuOf("landscape", Object.keys(this.tables.landscapes), (word) => this.moveTo(word));
    this.view = menuOf("view", ["plane", "solid"], (word) => set({view: word}));
    this.canvas = make("canvas", {role: "img"});
    this.handle = make("button", {type: "button", class: "handle"}, make("span", {class: "unseen"}, "start"));
    this.picture = make("div", {class: "picture"}, this.canvas, this.handle);
    this.chart = make("canvas", {role: "img", class: "chart"});
    this.source = make("p", {class: "source"});
    this.panel = panelOf("optimizer", this.edits());
    this.shared = sharedRows(SHARED, (values) => set("steps" in values ? {...values, step: values.steps} : values));
    this.rootOf(
      make("div", {class: "bar"}, make("label", {}, "Landscape ", this.landscape.menu), make("label", {}, "View ", this.view.menu),
        ...this.startBoxes(), this.source),
      make("div", {class: "pictures"}, this.picture, make("div", {class: "losses"}, this.chart)),
      this.player(), this.panel.cards, this.shared.element, this.sharing(this.panel.add));
  }

  moveTo(landscape) {
    this.left.set(this.state.landscape, this.state); // what has just been changed is not drawn yet
    this.set(moved(this.tables, landscape, this.state, this.left.get(landscape)));
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
      box.addEventListener("blur", () => {
        box.value = String(this.state.start[k]);
        box.removeAttribute("aria-invalid");
      });
      return box;
    });
    return [make("span", {class: "start"}, "Start ", ...this.boxes)];
  }

  edits() {
    return editsOf(() => this.state.optimizers, (optimizers) => this.set({optimizers}), () => this.tables.optimizers,
      (name) => withRate(this.tables, this.state.landscape, name), ["SGD", "Adam", "RMSprop", "Lion"]);
  }

  renamed() {
    const options = Object.keys(this.tables.landscapes).map((word) => make("option", {value: word}, word));
    this.landscape.menu.replaceChildren(...options);
  }

  repaint() {
    this.backs.clear();
  }

  listenToPointer() {
    const grab = (place) => { this.last = place; }, canvas = () => this.canvas;
    dragged(this.handle, canvas, grab, (place) => this.state.view === "solid" ? this.turnBy(place) : this.startAt(place));
    dragged(this.canvas, canvas, grab, (place) => { if (this.state.view === "solid") this.turnBy(place); });
    dragged(this.chart, canvas, grab, (place, event) => this.seek(this.chartFrame.stepAt(event.offsetX)));
    this.canvas.addEventListener("click", (event) => {
      const box = this.canvas.getBoundingClientRect();
      if (this.state.view === "plane") this.startAt([event.clientX - box.left, event.clientY - box.top]);
    });
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

  get domain() {
    return this.tables.landscapes[this.state.landscape].domain;
  }
}
