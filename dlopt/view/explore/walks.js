// Where the optimizers go: the translated rules on the translated gradient.

// One path and its loss; `finite` points of it can be drawn. `plans` holds what depends on the step alone.
function walkOf({dlopt}, landscape, entry, hyper, plans, {start, steps, noise}, drawn) {
  const {made} = entry, group = {...made.group, ...hyper}, memory = dlopt.remember(made);
  if (!plans.memory) Object.assign(plans, {memory: dlopt.remember(made), list: []});
  while (plans.list.length < steps) plans.list.push(dlopt.plan(made, group, plans.memory));
  const path = new Float64Array(2 * steps + 2), loss = new Float64Array(steps + 1), p = Float64Array.from(start);
  path.set(p);
  loss[0] = landscape.f(p[0], p[1]);
  for (let k = 0; k < steps; k++) {
    const [gx, gy] = landscape.grad(p[0], p[1]);
    dlopt.apply(plans.list[k], made, group, memory, p, [gx + noise * drawn[2 * k], gy + noise * drawn[2 * k + 1]]);
    path.set(p, 2 * k + 2);
    loss[k + 1] = landscape.f(p[0], p[1]);
  }
  let finite = 0;
  while (finite <= steps && Number.isFinite(path[2 * finite]) && Number.isFinite(path[2 * finite + 1])) finite++;
  return {path, loss, finite};
}

// A path that there is none of: `error` says why.
function noWalk(steps, error) {
  return {path: new Float64Array(2 * steps + 2).fill(NaN), loss: new Float64Array(steps + 1).fill(NaN), finite: 0, error};
}

// Settings that Python refuses and sliders allow, in Python's words.
function refusal(entry, hyper) {
  const needs = entry.controls.find((control) => control.needs && hyper[control.key]);
  return needs && !(hyper.momentum > 0 && hyper.dampening === 0) ? needs.needs : null;
}

// Computes paths, and keeps what the last call needed: moving one slider walks one path.
function walker() {
  let kept = new Map(), plans = new Map(), noise = {key: "", drawn: null}, tables = null;
  const drawnFor = ({seed, steps}) => {
    if (noise.key !== `${seed} ${steps}`) {
      const drawn = new Float64Array(2 * steps);
      for (let k = 0; k < steps; k++) drawn.set(tables.noise(k + 1, {seed}), 2 * k);
      noise = {key: `${seed} ${steps}`, drawn};
    }
    return noise.drawn;
  };
  const one = (landscape, state, {name, hyper}, nextPlans) => {
    const entry = tables.optimizers[name];
    if (landscape.error) return noWalk(state.steps, "");
    if (!entry || entry.error) return noWalk(state.steps, entry?.error ?? `there is no optimizer called ${name}`);
    const refused = refusal(entry, {...entry.made.group, ...hyper});
    if (refused) return noWalk(state.steps, refused);
    const key = JSON.stringify([name, hyper]), planned = plans.get(key) ?? nextPlans.get(key) ?? {};
    nextPlans.set(key, planned);
    try {
      return walkOf(tables, landscape, entry, hyper, planned, state, drawnFor(state));
    } catch (error) {
      return noWalk(state.steps, String(error)); // the others go on
    }
  };
  return (newTables, landscape, state) => {
    if (newTables !== tables) [kept, plans, noise, tables] = [new Map(), new Map(), {key: ""}, newTables];
    const next = new Map(), nextPlans = new Map();
    const around = JSON.stringify([state.landscape, state.start, state.steps, state.noise, state.seed]);
    const walks = state.optimizers.map((each) => {
      const key = JSON.stringify(each) + around;
      const walk = next.get(key) ?? kept.get(key) ?? one(landscape, state, each, nextPlans);
      const planKey = JSON.stringify([each.name, each.hyper]);
      if (plans.has(planKey)) nextPlans.set(planKey, plans.get(planKey));
      next.set(key, walk);
      return walk;
    });
    [kept, plans] = [next, nextPlans];
    return walks;
  };
}

// The optimizers' names; where two share one, with their numbers.
function numbered(optimizers) {
  const names = optimizers.map(({name}) => name);
  return names.map((name, k) => names.indexOf(name) === names.lastIndexOf(name) ? name : `${name}, optimizer ${k + 1}`);
}

// What became of a path, in words: for its card, and for the list of messages if it is a fault.
function fate(name, walk, landscape, steps) {
  if (walk.error || landscape.error) return {fault: walk.error ? `${name}: ${walk.error}` : "", text: "does not run"};
  const [left, right, low, high] = landscape.domain, width = right - left, height = high - low;
  if (walk.finite <= steps) {
    const where = walk.finite === 0 ? "has no finite start" : `is not finite after step ${walk.finite - 1}`;
    return {fault: `${name} diverges: it ${where}.`, text: "diverges"};
  }
  const away = (x, y) => Math.max(Math.abs(x - (left + right) / 2) / width, Math.abs(y - (low + high) / 2) / height);
  const x = walk.path[2 * steps], y = walk.path[2 * steps + 1], off = away(x, y);
  if (off > 50 && off > away(walk.path[0], walk.path[1])) return {fault: `${name} diverges: after ${steps} steps it is at (${short(x)}, ${short(y)}).`, text: "diverges"};
  return {fault: "", text: off > 0.5 ? "outside the picture" : ""};
}
