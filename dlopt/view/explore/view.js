// What every explorer does: keeps to its model, plays, shares its state, says what is wrong, ends.
// A subclass has `build()`, `draw()`, `keys`, `most` (the last step), `pythonCall()` and `sensible(state)`.

const SPEEDS = {"\u00bc\u00d7": 10, "\u00bd\u00d7": 20, "1\u00d7": 40, "2\u00d7": 80, "4\u00d7": 160}; // steps a second
const ICONS = {
  play: "M4 2l10 6-10 6z", pause: "M3 2h4v12H3zM9 2h4v12H9z", back: "M2 2h2v12H2zM14 2v12L5 8z", next: "M12 2h2v12h-2zM2 2l9 6-9 6z",
};
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]};

class ExplorerView {
  // The model holds the state; whatever changes it, the picture follows.
  begin(model, el) {
    Object.assign(this, {model, el, version: 0, turned: {turn: -0.6, tilt: 0.75}});
    this.readTables();
    this.build();
    if (model.alone) this.restore();
    this.listen();
    this.draw();
  }

  readTables() {
    this.tables = {...tablesOf(this.model), version: ++this.version};
  }

  get state() {
    return Object.fromEntries(this.keys.map((key) => [key, this.model.get(key)]));
  }

  set(...values) {
    for (const each of values) for (const [key, value] of Object.entries(each)) this.model.set(key, value);
    this.model.save_changes();
  }

  // The outermost element, with the messages of the explorer in it.
  rootOf(bar, ...parts) {
    this.messages = make("div", {class: "messages", role: "status"});
    this.root = make("div", {class: "explorer", "data-lm-suppress-shortcuts": "true"}, bar, this.messages, ...parts);
    this.el.append(this.root);
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

  showPlayer(step, every = 1) {
    this.slider.max = String(this.most);
    this.slider.value = String(step);
    this.slider.setAttribute("aria-valuetext", String(every * step));
    this.count.textContent = `${every * step} / ${every * this.most}`;
    const word = this.playing ? "pause" : "play";
    this.play.firstChild.firstChild.setAttribute("d", ICONS[word]);
    this.play.setAttribute("aria-label", word);
    this.play.title = word;
  }

  // Playback. Where nothing may move by itself, nothing does until it is asked to.
  start() {
    if (this.state.step >= this.most) this.seek(0);
    this.playing = {from: performance.now(), step: this.state.step};
    this.tick();
  }

  tick() {
    this.ticking = requestAnimationFrame((now) => {
      if (!this.playing) return;
      const gone = (now - this.playing.from) / 1000 * SPEEDS[this.speed.menu.value];
      this.playing = {from: now, step: this.playing.step + Math.max(0, gone)};
      this.model.set("step", Math.min(this.most, Math.floor(this.playing.step)));
      if (this.state.step < this.most) this.tick();
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
    this.set({step: Math.max(0, Math.min(this.most, step))});
    this.soon();
  }

  sharing(...first) {
    const box = make("textarea", {class: "copied", readonly: true, hidden: true, rows: 3, "aria-label": "text to copy"});
    const told = make("span", {class: "told", role: "status"});
    const tell = (text) => { told.textContent = text; };
    const button = (label, text) => make("button", {type: "button", onclick: () => copy(text(), box, tell)}, label);
    const link = this.model.alone ? [button("Copy link", () => linkTo(this.el, this.state))] : [];
    const call = button("Copy Python", () => `from dlopt.view import explore\n\n${this.pythonCall()}`);
    return make("div", {class: "sharing"}, ...first, ...link, call, told, box);
  }

  listen() {
    this.soon = () => {
      this.turning = false;
      this.frame ??= requestAnimationFrame(() => this.draw());
    };
    this.recode = () => {
      this.readTables();
      this.renamed();
      this.soon();
    };
    this.events = this.keys.map((key) => `change:${key}`).join(" ");
    this.model.on(this.events, this.soon);
    this.model.on("change:code", this.recode);
    this.endTheme = followTheme(this.root, () => { this.repaint(); this.soon(); });
    this.sizes = new ResizeObserver(this.soon);
    this.sizes.observe(this.root);
    this.onHash = () => this.restore();
    if (this.model.alone) window.addEventListener("hashchange", this.onHash);
    for (const kind of ["keydown", "keyup", "keypress"]) {
      this.root.addEventListener(kind, (event) => { if (!event.ctrlKey && !event.metaKey) event.stopPropagation(); });
    }
    this.listenToPointer();
  }

  // What a subclass may do when other tables have come, and when the theme is another one.
  renamed() {}

  repaint() {}

  listenToPointer() {}

  turnBy([px, py]) {
    this.turned.turn += (px - this.last[0]) / 120;
    this.turned.tilt = Math.max(0.15, Math.min(1.5, this.turned.tilt + (py - this.last[1]) / 160));
    this.last = [px, py];
    if (this.frame) return; // all of it is about to be drawn
    this.turning = true;
    this.frame = requestAnimationFrame(() => this.draw());
  }

  // Messages are said again only when they change.
  tell(lines) {
    const text = lines.join("\n");
    if (this.told === text) return;
    this.told = text;
    this.messages.replaceChildren(...lines.map((line) => make("p", {}, line)));
  }

  restore() {
    const state = fromLink(this.el, (given) => this.sensible(given));
    if (!state) return;
    this.set(Object.fromEntries(this.keys.map((key) => [key, state[key]])));
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

// Calls `move` with the pointer's place in `box()` while `element` is dragged; `grab` once when it begins.
function dragged(element, box, grab, move) {
  let from = null; // measured when a drag begins: measuring costs a layout
  const local = (event) => [event.clientX - from.left, event.clientY - from.top];
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    from = box().getBoundingClientRect();
    grab(local(event));
  });
  element.addEventListener("pointermove", (event) => { if (element.hasPointerCapture(event.pointerId)) move(local(event), event); });
}
