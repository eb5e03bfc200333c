// What translated rules need in a browser: a power that rounds as Python's does, and one step of an optimizer.
const dlopt = (() => {
  "use strict";

  // The product of two pairs (value, remainder), good to about 100 bits (Dekker 1971).
  function times([a, aLow], [b, bLow]) {
    const p = a * b, wide = 134217729;
    const ax = wide * a, ah = ax - (ax - a), al = a - ah;
    const bx = wide * b, bh = bx - (bx - b), bl = b - bh;
    const low = ((ah * bh - p) + ah * bl + al * bh) + al * bl + (a * bLow + aLow * b);
    const sum = p + low;
    return [sum, low - (sum - p)];
  }

  // Math.pow is off by a bit one time in ten; Python's is not. Whole exponents are multiplied out.
  function power(base, exponent) {
    if (base === 1 || (base === -1 && Math.abs(exponent) === Infinity)) return 1; // as C has it
    if (exponent === 0.5 && base > 0) return Math.sqrt(base);
    if (!(Number.isInteger(exponent) && exponent >= 0 && exponent < 2 ** 31 && Math.abs(base) < 1e150)) {
      return base ** exponent;
    }
    const rough = base ** exponent;
    if (!(Math.abs(rough) > 1e-280 && Math.abs(rough) < 1e150)) return rough;
    let result = [1, 0], square = [base, 0];
    for (let k = exponent; k > 0; k >>>= 1) {
      if (k & 1) result = times(result, square);
      if (k > 1) square = times(square, square);
    }
    return result[0];
  }

  const list = (value) => Array.isArray(value) ? value : [value];

  // What an optimizer remembers of one parameter before its first step.
  function remember(optimizer) {
    return {step: 0, scalars: {...optimizer.scalarState}, made: new Set(), state: {}};
  }

  // What the next step does that depends on neither parameter nor gradient; the memory's counts go on by one.
  function plan(optimizer, group, memory) {
    const known = optimizer.stateKeys.every((symbol) => memory.made.has(symbol));
    const t = optimizer.counted ? memory.step + 1 : known ? 2 : 1;
    let hyper = optimizer.hyper(optimizer, group);
    const symbols = Object.keys(optimizer.scalarState);
    const made = optimizer.scalars
      ? optimizer.scalars(t, ...symbols.map((symbol) => memory.scalars[symbol]), hyper) : {};
    const decay = hyper.weight_decay ?? 0;
    const coupled = !(group.decoupled_weight_decay ?? optimizer.decoupled);
    if (coupled) hyper = {...hyper, weight_decay: 0};
    const rule = optimizer.rule(optimizer, group, t), state = rule.elements.slice(2);
    for (const symbol of state) memory.made.add(symbol);
    for (const symbol of symbols) memory.scalars[symbol] = made[symbol];
    if (optimizer.counted) memory.step = t;
    const scalars = Object.fromEntries(rule.scalars.map((name) => [name, name in made ? made[name] : hyper[name]]));
    return {call: rule.call, state, scalars, l2: coupled ? decay : 0};
  }

  // The planned step: `p` and the memory's state are changed, as `engine/gather.py` and `engine/program.py` say.
  function apply({call, state, scalars, l2}, optimizer, group, memory, p, g) {
    for (const symbol of state) {
      if (symbol in memory.state) continue;
      const start = optimizer.initial(optimizer, group, symbol, p);
      memory.state[symbol] = typeof start === "number" ? new Float64Array(p.length).fill(start) : Float64Array.from(start);
    }
    const arrays = state.map((symbol) => memory.state[symbol]);
    for (let i = 0; i < p.length; i++) {
      let slope = group.maximize ? optimizer.ascent(g[i]) : g[i];
      if (l2 !== 0) slope = optimizer.coupledDecay(slope, p[i], {l2});
      const next = list(call(slope, p[i], ...arrays.map((array) => array[i]), scalars));
      p[i] = optimizer.write(p[i], next[0]);
      arrays.forEach((array, k) => { array[i] = next[k + 1]; });
    }
  }

  // One step: `p` and `memory` are changed.
  function step(optimizer, group, memory, p, g) {
    apply(plan(optimizer, group, memory), optimizer, group, memory, p, g);
  }

  // The point to use: where `eval()` of a ModeOptimizer would bring `p`; `p` itself for all others.
  function used(optimizer, group, memory, p) {
    const move = optimizer.moves[optimizer.rule(optimizer, group, Math.max(memory.step, 1)).name];
    if (!move || !move.elements.slice(2).every((symbol) => symbol in memory.state)) return Float64Array.from(p);
    const hyper = optimizer.hyper(optimizer, group);
    const scalars = Object.fromEntries(move.scalars.map((name) => [name, hyper[name]]));
    return Float64Array.from(p, (x, i) =>
      x + list(move.call(x, x, ...move.elements.slice(2).map((symbol) => memory.state[symbol][i]), scalars))[0]);
  }

  return {power, remember, plan, apply, step, used};
})();
