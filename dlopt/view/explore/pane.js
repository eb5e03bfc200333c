// One surface of the surface explorer: its picture, and the probe that reads the loss.

class Pane {
  // `view` is the explorer; `nth` is 0 for the first surface, 1 for the one beside it.
  constructor(view, nth) {
    Object.assign(this, {view, nth, kept: null});
    this.canvas = make("canvas", {role: "img"});
    this.handle = make("button", {type: "button", class: "handle probe"});
    this.picture = make("div", {class: "picture"}, this.canvas, this.handle);
    this.reading = make("output", {class: "reading"});
    this.about = make("p", {class: "source"});
    this.title = make("strong");
    this.element = make("div", {class: "pane"}, make("p", {class: "caption"}, this.title, " ", this.reading), this.picture, this.about);
    this.listen();
  }

  listen() {
    const {view, canvas} = this, box = () => canvas, grab = (place) => { view.last = place; };
    const solid = () => view.state.view === "solid";
    dragged(this.handle, box, grab, (place) => solid() ? view.turnBy(place) : this.probeAt(place));
    dragged(canvas, box, grab, (place) => { if (solid()) view.turnBy(place); });
    canvas.addEventListener("click", (event) => { if (!solid()) this.probeAt([event.offsetX, event.offsetY]); });
    canvas.addEventListener("pointermove", (event) => this.hover([event.offsetX, event.offsetY]));
    canvas.addEventListener("pointerleave", () => this.hover(null));
    this.handle.addEventListener("keydown", (event) => {
      const arrow = ARROWS[event.key];
      if (!arrow) return;
      event.preventDefault();
      if (solid()) {
        view.last ??= [0, 0];
        view.turnBy([view.last[0] + 12 * arrow[0], view.last[1] - 12 * arrow[1]]);
      } else this.nudge(arrow, event.shiftKey ? 5 : 1);
    });
  }

  probeAt([px, py]) {
    const [x, y] = this.frame.back(px, py), found = this.surface.near(x, y);
    if (found) this.view.set({probe: [found.x, found.y]});
  }

  nudge([dx, dy], nodes) {
    const {domain: [left, right, low, high], across, down} = this.surface, [x, y] = this.view.state.probe;
    const found = this.surface.near(x + nodes * dx * (right - left) / (across - 1), y + nodes * dy * (high - low) / (down - 1));
    if (found) this.view.set({probe: [found.x, found.y]});
  }

  // What lies under the pointer is read, and nothing is moved.
  hover(place) {
    if (!this.surface || this.view.state.view === "solid") return;
    const found = place && this.surface.near(...this.frame.back(...place));
    this.read(found ?? this.surface.near(...this.view.state.probe));
  }

  read(found) {
    this.reading.textContent = found ? `loss ${short(found.loss)} at (${short(found.x)}, ${short(found.y)})` : "the probe is outside";
  }

  draw(surface, scale, walks, state, colours) {
    const width = this.picture.clientWidth, height = Math.round(width / (this.view.two ? 1.15 : 1.5));
    this.surface = surface;
    this.title.textContent = surface.name;
    this.about.textContent = surface.about;
    this.read(surface.near(...state.probe));
    if (!width) return;
    this.frame = frameOf(surface.domain, width, height);
    const context = sized(this.canvas, width, height);
    this.canvas.style.height = `${height}px`;
    this.placeHandle(surface, state, width, height);
    this.describe(surface, scale, walks);
    if (surface.holes === surface.z.length) return;
    const {solid, back} = this.backOf(surface, scale, state, colours);
    if (state.view === "plane") return drawPlane(context, back, this.frame, walks, state.step, colours);
    drawSolid(context, solid, this.frame, walks, state.step, this.view.turned, colours);
    this.drawProbe(context, solid, state, width, height, colours);
  }

  // What is costly and stays: the level lines or the quads.
  backOf(surface, scale, state, colours) {
    const key = [surface.name, this.view.version, scale.key, this.view.two, this.frame.width, this.frame.height, colours.theme, window.devicePixelRatio, state.view].join();
    if (this.kept?.key !== key) {
      const field = fieldOf(surface, scale), solid = state.view === "solid", quads = this.view.two ? 35 : 50;
      this.kept = {
        key, solid: solid ? surfaceOf(surface, field, colours, quads) : null,
        back: solid ? null : backdrop(surface, field, this.frame, colours),
      };
    }
    return this.kept;
  }

  drawProbe(context, solid, {probe: [x, y]}, width, height, colours) {
    const place = solid.at(x, y, this.surface.f(x, y));
    if (place.some(Number.isNaN)) return;
    const [px, py] = camera(this.view.turned, width, height)(place);
    context.beginPath();
    context.arc(px, py, 6, 0, 2 * Math.PI);
    for (const [strokeStyle, lineWidth] of [[colours.halo, 5], [colours.ink, 2.2]]) {
      Object.assign(context, {strokeStyle, lineWidth});
      context.stroke();
    }
  }

  placeHandle(surface, {view, probe: [x, y]}, width, height) {
    const solid = view === "solid", found = surface.near(x, y);
    const px = solid ? width / 2 : Math.max(8, Math.min(width - 8, this.frame.across(found?.x ?? x)));
    const py = solid ? height - 22 : Math.max(8, Math.min(height - 8, this.frame.up(found?.y ?? y)));
    this.handle.style.transform = `translate(${px}px, ${py}px)`;
    this.handle.classList.toggle("turn", solid);
    this.picture.classList.toggle("solid", solid);
    this.handle.setAttribute("aria-label", solid ? `turn ${surface.name}: drag it, or press the arrow keys`
      : `probe of ${surface.name} at ${short(x)}, ${short(y)}: ${found ? `loss ${short(found.loss)}` : "outside"}. Drag it, or press the arrow keys`);
  }

  describe(surface, scale, walks) {
    const paths = walks.filter(({finite}) => finite).map(({name, loss, finite}) => `${name} ends at loss ${short(loss[finite - 1])}`);
    this.canvas.setAttribute("aria-label", `Loss surface ${surface.name}, between ${short(scale.low)} and ${short(scale.high)}`
      + `${paths.length ? `, with ${paths.length} training paths: ${paths.join("; ")}` : ""}.`);
  }
}
