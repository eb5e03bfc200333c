// How the landscape explorer looks: paths, picture, chart, controls and messages, all drawn from the state.

class LandscapeDrawing extends ExplorerView {
  draw() {
    this.frame = null;
    if (this.ended) return;
    const state = this.state, landscape = this.tables.landscapes[state.landscape];
    if (!landscape) return this.tell([`There is no landscape called ${state.landscape}.`]);
    this.left.set(state.landscape, state);
    if (this.turning) return this.drawTurned(landscape, state);
    const colours = coloursOf(this.root), step = Math.min(state.step, state.steps);
    if (!colours.ink) return this.soon(); // a notebook brings the style sheet a little later
    const walks = this.walk(this.tables, landscape, state);
    const names = numbered(state.optimizers), fates = names.map((name, k) => fate(name, walks[k], landscape, state.steps));
    const troubles = landscape.error ? [`${state.landscape}: ${landscape.error}`] : [];
    if (!landscape.error) troubles.push(...this.drawPicture(landscape, walks, {...state, step}, colours));
    this.drawChart(landscape, walks, {...state, step}, colours);
    this.showControls(state, step, colours, walks, fates);
    this.tell([...troubles, ...fates.map(({fault}) => fault).filter(Boolean)]);
    this.describe(state, names, walks, fates);
    this.el.dloptPaths = walks.map(({path}) => path);
  }

  // A surface that turns changes nothing else.
  drawTurned(landscape, state) {
    this.turning = false;
    this.drawPicture(landscape, this.walk(this.tables, landscape, state), state, coloursOf(this.root));
  }

  // Returns what is wrong with the landscape.
  drawPicture(landscape, walks, state, colours) {
    const width = this.picture.clientWidth, height = Math.round(width / 1.5);
    if (!width) return [];
    this.plane = frameOf(landscape.domain, width, height);
    const {field, surface, back} = this.backOf(landscape, state, this.plane, colours);
    const context = sized(this.canvas, width, height);
    this.canvas.style.height = `${height}px`;
    if (!field.finite) return [`${state.landscape} gives no number anywhere in the picture (NaN).`];
    if (state.view === "solid") drawSolid(context, surface, this.plane, walks, state.step, this.turned, colours);
    else drawPlane(context, back, this.plane, walks, state.step, colours);
    this.placeHandle(state, width, height);
    const start = landscape.f(...state.start);
    if (!Number.isFinite(start)) return [`${state.landscape} gives ${start} at the start (${state.start.map(short).join(", ")}).`];
    return field.finite < 0.999 ? [`${state.landscape} gives no number in a part of the picture, which is left empty.`] : [];
  }

  // What is costly and stays: values, level lines and surface, for this landscape, size and theme.
  backOf(landscape, state, frame, colours) {
    const key = [state.landscape, frame.width, colours.theme, window.devicePixelRatio, state.view].join();
    if (!this.backs.has(key)) {
      const field = this.fields?.of === landscape ? this.fields.field : fieldOf(landscape);
      this.fields = {of: landscape, field};
      const solid = state.view === "solid" && field.finite > 0;
      const surface = solid ? surfaceOf(landscape, field, colours) : null;
      const back = solid || !field.finite ? null : backdrop(landscape, field, frame, colours);
      this.backs.clear();
      this.backs.set(key, {field, surface, back});
    }
    return this.backs.get(key);
  }

  placeHandle({view, start}, width, height) {
    const solid = view === "solid", [x, y] = start;
    const px = solid ? width / 2 : Math.max(8, Math.min(width - 8, this.plane.across(x)));
    const py = solid ? height - 22 : Math.max(8, Math.min(height - 8, this.plane.up(y)));
    this.handle.style.transform = `translate(${px}px, ${py}px)`;
    const outside = !solid && (px !== this.plane.across(x) || py !== this.plane.up(y));
    this.handle.classList.toggle("turn", solid);
    this.handle.classList.toggle("outside", outside);
    this.last ??= [px, py];
    this.handle.setAttribute("aria-label", solid ? "turn the surface: drag it, or press the arrow keys"
      : `start at x ${short(x)}, y ${short(y)}${outside ? ", outside the picture" : ""}: drag it, or press the arrow keys`);
    this.picture.classList.toggle("solid", solid);
  }

  drawChart(landscape, walks, state, colours) {
    const width = this.chart.parentElement.clientWidth;
    const height = Math.max(170, Math.min(this.chart.parentElement.clientHeight, this.canvas.clientHeight || 170));
    if (!width) return;
    const context = sized(this.chart, width, height);
    this.chart.style.height = `${height}px`;
    this.chartFrame = drawLoss(context, width, height, landscape, walks, state, colours);
  }

  showControls(state, step, colours, walks, fates) {
    this.landscape.show(state.landscape);
    this.view.show(state.view);
    this.source.textContent = this.tables.landscapes[state.landscape].source;
    this.boxes.forEach((box, k) => { if (box !== document.activeElement) box.value = String(state.start[k]); });
    this.showPlayer(step);
    const texts = walks.map((walk, k) => {
      const value = walk.loss[step];
      return [Number.isFinite(value) ? `loss ${short(value)}` : "", fates[k].text].filter(Boolean).join(" \u00b7 ");
    });
    this.panel.update(this.tables.version, this.tables.optimizers, state.optimizers, colours, texts);
    this.shared.update(state);
  }

  describe(state, names, walks, fates) {
    const ends = names.map((name, k) =>
      `${name} ends at ${walks[k].finite > state.steps ? `(${short(walks[k].path[2 * state.steps])}, ${short(walks[k].path[2 * state.steps + 1])})` : "no finite point"}`
      + `${fates[k].text ? `, ${fates[k].text}` : ""}`);
    this.canvas.setAttribute("aria-label", `Landscape ${state.landscape} with ${names.length} paths of ${state.steps} steps: ${ends.join("; ")}.`);
    this.chart.setAttribute("aria-label", `Loss against step: ${names.map((name, k) =>
      `${name} from ${short(walks[k].loss[0])} to ${short(walks[k].loss[state.steps])}`).join("; ")}.`);
  }
}
