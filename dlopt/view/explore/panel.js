// The cards of the optimizers, and the settings that all of them share.

const MOST = 4;
const SHARED = [
  {key: "steps", label: "steps", kind: "whole", low: 1, high: 1000, least: 1, most: 5000},
  {key: "noise", label: "noise", symbol: "\u03c3", kind: "from zero", low: 1e-3, high: 100, least: 0, most: 1e6},
  {key: "seed", label: "seed", kind: "whole", low: 0, high: 100, least: 0, most: 2 ** 24},
];

// `hyper` with one value changed; of a pair, one half.
function changed(hyper, defaults, {key, index}, value) {
  if (index === null) return {...hyper, [key]: value};
  const pair = [...(hyper[key] ?? defaults[key])];
  pair[index] = value;
  return {...hyper, [key]: pair};
}

// One card: which optimizer, its sliders, the rarer ones folded away.
function cardOf(k, tables, state, colours, edit) {
  const {name} = state.optimizers[k], entry = tables.optimizers[name], several = state.optimizers.length > 1;
  const which = menuOf(`optimizer ${k + 1}`, Object.keys(tables.optimizers), (word) => edit.replace(k, word));
  which.show(name);
  const remove = several && make("button", {
    type: "button", class: "quiet", "aria-label": `remove optimizer ${k + 1}, ${name}`, onclick: () => edit.remove(k),
  }, "\u00d7");
  const status = make("p", {class: "fate"});
  const head = make("div", {class: "head"}, badge(k, colours), which.menu, ...(remove ? [remove] : []));
  const card = make("fieldset", {class: "card"}, make("legend", {class: "unseen"}, `optimizer ${k + 1}`), head, status);
  const rows = (entry?.controls ?? []).map((control) => {
    const {row, show} = controlRow(control, `${name}${several ? `, optimizer ${k + 1}` : ""}`,
      (value) => edit.change(k, control, value));
    return {control, row, show};
  });
  card.append(...rows.filter(({control}) => control.first).map(({row}) => row));
  const rare = rows.filter(({control}) => !control.first).map(({row}) => row);
  const given = state.optimizers[k].hyper, open = rows.some(({control}) => !control.first && control.key in given);
  if (rare.length) card.append(make("details", {open}, make("summary", {}, "more"), ...rare));
  const update = ({hyper}, text) => {
    const full = {...entry?.made?.group, ...hyper};
    for (const {control, show} of rows) show(control.index === null ? full[control.key] : full[control.key][control.index]);
    status.textContent = text;
  };
  return {card, update};
}

// All cards and the button that adds one. They are made anew only when other optimizers take part.
function panelOf(edit) {
  const cards = make("div", {class: "cards"});
  const add = make("button", {type: "button", class: "add", onclick: () => edit.add()}, "+ optimizer");
  let made = "", updates = [];
  const update = (tables, state, colours, texts) => {
    const wanted = JSON.stringify([state.optimizers.map((each) => each.name), colours.theme, tables.version]);
    if (wanted !== made) {
      const open = [...cards.querySelectorAll("details")].map((d) => d.open);
      const built = state.optimizers.map((_, k) => cardOf(k, tables, state, colours, edit));
      cards.replaceChildren(...built.map(({card}) => card));
      [...cards.querySelectorAll("details")].forEach((d, k) => { d.open ||= open[k] ?? false; });
      [made, updates] = [wanted, built.map((each) => each.update)];
    }
    add.hidden = state.optimizers.length >= MOST;
    updates.forEach((one, k) => one(state.optimizers[k], texts[k]));
  };
  return {cards, add, update};
}

function sharedRows(set) {
  const rows = SHARED.map((control) => ({control, ...numberRow(control, "", (value) => set({[control.key]: value}))}));
  const update = (state) => rows.forEach(({control, show}) => show(state[control.key]));
  return {element: make("div", {class: "shared"}, ...rows.map(({row}) => row)), update};
}
