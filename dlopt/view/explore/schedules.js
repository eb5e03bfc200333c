// How schedules are put together from the translated formulas, as dlopt.lab.schedule_families and dlopt.sgd.schedules
// do it. A schedule here is {call, hyper}, {parts, milestones} or {product}.

// The factor at step t.
function factorAt(schedule, t) {
  if (schedule.call) return schedule.call(t, schedule.hyper);
  if (schedule.product) return schedule.product.reduce((all, part) => all * factorAt(part, t), 1);
  const {parts, milestones} = schedule, place = milestones.filter((m) => m <= t).length;
  return factorAt(parts[place], place ? t - milestones[place - 1] : t);
}

// The families: settings and the steps that a warm-up leaves, to a schedule. `f` holds the translated formulas.
const FAMILIES = {
  constant: (f) => ({call: f.constant, hyper: {factor: 1}}),
  cosine: (f, steps, {floor}) => ({call: f.cosine_held, hyper: {steps, floor}}),
  linear: (f, steps, {end_factor}) => ({call: f.linear, hyper: {steps, start_factor: 1, end_factor}}),
  polynomial: (f, steps, {power, floor}) => ({call: f.polynomial, hyper: {steps, power, floor}}),
  step: (f, _, {step_size, gamma}) => ({call: f.step, hyper: {step_size, gamma}}),
  multi_step: (f, _, {milestones, gamma}) => ({
    milestones, parts: [0, ...milestones].map((_m, drops) => ({call: f.constant, hyper: {factor: f.power(gamma, drops)}})),
  }),
  exponential: (f, _, {gamma}) => ({call: f.exponential, hyper: {gamma}}),
  inverse_time: (f, _, {steps, power}) => ({call: f.inverse_time, hyper: {steps, power}}),
  cosine_restarts: (f, _, {steps, multiplier, floor}) => multiplier === 1
    ? {call: f.cosine_equal_restarts, hyper: {steps, floor}} : {call: f.cosine_growing_restarts, hyper: {steps, multiplier, floor}},
  inverse_sqrt: (f, _, {warmup}) => ({call: f.inverse_sqrt, hyper: {warmup}}),
  one_cycle: (f, steps, {pct_start, anneal_strategy, div_factor, final_div_factor, three_phase}) => {
    const last = steps - 1, peak = pct_start * steps - 1, start = 1 / div_factor, end = start / final_div_factor;
    const [foot, middle] = three_phase ? [2 * pct_start * steps - 2, start] : [last, end];
    return {call: f[`one_cycle_${anneal_strategy}`], hyper: {peak, foot, last, start, top: 1, middle, end}};
  },
  warmup_stable_decay: (f, steps, {warmup, decay, floor, kind, start}) => {
    const fall = {
      "1-sqrt": {call: f.one_minus_sqrt, hyper: {steps: decay, floor}},
      linear: {call: f.linear, hyper: {steps: decay, start_factor: 1, end_factor: floor}},
      cosine: {call: f.cosine_held, hyper: {steps: decay, floor}},
    }[kind];
    const flat = {call: f.constant, hyper: {factor: 1}}, plateau = steps - decay > warmup;
    const parts = [...(warmup ? [[0, rise(f, warmup, start, "linear")]] : []), ...(plateau ? [[warmup, flat]] : []), [steps - decay, fall]];
    if (parts.length === 1) return parts[0][1];
    return {parts: parts.map(([, part]) => part), milestones: parts.slice(1).map(([begin]) => begin)};
  },
};

function rise(f, steps, start, kind) {
  const hyper = {steps, start_factor: start, end_factor: 1};
  return {call: kind === "linear" ? f.linear : f.geometric, hyper};
}

// What Python would refuse, in its words; null where there is nothing to say.
function refusedSettings(name, s, steps, rises) {
  if (!rises && s.warmup >= steps) return `a warm-up of ${s.warmup} steps leaves none of ${steps}`;
  if (name === "multi_step" && s.milestones[0] >= s.milestones[1]) return `Expected increasing milestones, at least one, but got [${s.milestones.join(", ")}]`;
  if (name === "one_cycle" && s.pct_start * steps === 1) return `pct_start * steps = 1 leaves no step to rise in: take pct_start 0 or above ${s.pct_start}`;
  if (name === "cosine_restarts" && s.multiplier > 1 && s.multiplier < 1 + 1e-6) return "multiplier must be 1 or at least 1 + 1e-6";
  if (name === "warmup_stable_decay" && s.warmup + s.decay > steps) return `warmup ${s.warmup} and decay ${s.decay} are more than all ${steps} steps`;
  if (!rises && s.warmup && s.kind === "exponential" && s.start === 0) return "an exponential warm-up cannot start at 0: no factor leads away from it";
  return null;
}

// The factors of a run of `steps` steps, or what is wrong.
function factorsOf({dlopt, formulas}, name, entry, hyper, steps) {
  const factors = new Float64Array(steps + 1).fill(NaN);
  if (entry.error) return {factors, error: entry.error};
  let schedule = entry.schedule;
  if (!schedule) {
    const settings = {...entry.made.group, ...hyper}, error = refusedSettings(name, settings, steps, entry.rises);
    if (error) return {factors, error};
    const {warmup, start, kind} = settings, before = !entry.rises && warmup;
    const then = FAMILIES[name]({...formulas, power: dlopt.power}, before ? steps - warmup : steps, settings);
    schedule = before ? {parts: [rise(formulas, warmup, start, kind), then], milestones: [warmup]} : then;
  }
  for (let t = 0; t <= steps; t++) factors[t] = factorAt(schedule, t);
  const bad = factors.findIndex((value) => !Number.isFinite(value));
  return {factors, error: bad < 0 ? null : `its factor at step ${bad} is ${factors[bad]}`};
}

// The mean loss of many runs of SGD on a noisy quadratic, the learning rate of each step by the schedule.
function noisyRuns({dlopt, landscape, sgd, runs}, factors, {lr, momentum, sigma}, drawn) {
  const steps = factors.length - 1, mean = new Float64Array(steps + 1), memory = dlopt.remember(sgd);
  const group = {...sgd.group, momentum};
  const plans = Array.from({length: steps}, (_, k) => dlopt.plan(sgd, {...group, lr: lr * factors[k]}, memory));
  for (let run = 0; run < runs; run++) {
    const own = dlopt.remember(sgd), p = Float64Array.from(landscape.start);
    mean[0] += landscape.f(p[0], p[1]) / runs;
    for (let k = 0; k < steps; k++) {
      const [gx, gy] = landscape.grad(p[0], p[1]), at = 2 * (run * steps + k);
      dlopt.apply(plans[k], sgd, group, own, p, [gx + sigma * drawn[at], gy + sigma * drawn[at + 1]]);
      mean[k + 1] += landscape.f(p[0], p[1]) / runs;
    }
  }
  return mean;
}
