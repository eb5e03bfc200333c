// The cards of those who take part, `noun` by `noun`, and the settings that all of them share.

const MOST = 4;

// `hyper` with one value changed; of a pair, one half.
function changed(hyper, defaults, {key, index}, value) {
  if (index === null) return {...hyper, [key]: value};
  const pair = [...(hyper[key] ?? defaults[key])];
  pair[index] = value;
  return {...hyper, [key]: pair};
}

// One card: which of the noun it is, its sliders, the rarer ones folded away.
function cardOf(k, noun, entries, list, colours, edit) {
  const {name} = list[k], entry = entries[name], several = list.length > 1;
  const which = menuOf(`${noun} ${k + 1}`, Object.keys(entries), (word) => edit.replace(k, word));
  which.show(name);
  const remove = several && make("button", {
    type: "button", class: "quiet", "aria-label": `remove ${noun} ${k + 1}, ${name}`, onclick: () => edit.remove(k),
  }, "\u00d7");
  const status = make("p", {class: "fate"});
  const head = make("div", {class: "head"}, badge(k, colours), which.menu, ...(remove ? [remove] : []));
  const card = make("fieldset", {class: "card"}, make("legend", {class: "unseen"}, `${noun} ${k + 1}`), head, status);
  const rows = (entry?.controls ?? []).map((control) => {
    const {row, show} = controlRow(control, `${name}${several ? `, ${noun} ${k + 1}` : ""}`,
      (value) => edit.change(k, control, value));
    return {control, row, show};
  });
  card.append(...rows.filter(({control}) => control.first).map(({row}) => row));
  const rare = rows.filter(({control}) => !control.first).map(({row}) => row);
  const given = list[k].hyper, open = rows.some(({control}) => !control.first && control.key in given);
  if (rare.length) card.append(make("details", {open}, make("summary", {}, "more"), ...rare));
  const update = ({hyper}, text) => {
    const full = {...entry?.made?.group, ...hyper};
    for (const {control, show} of rows) show(control.index === null ? full[control.key] : full[control.key][control.index]);
    status.textContent = text;
  };
  return {card, update};
}

// All cards and the button that adds one. They are made anew only when others take part.
function panelOf(noun, edit) {
  const cards = make("div", {class: "cards"});
  const add = make("button", {type: "button", class: "add", onclick: () => edit.add()}, `+ ${noun}`);
  let made = "", updates = [];
  const update = (version, entries, list, colours, texts) => {
    const wanted = JSON.stringify([list.map((each) => each.name), colours.theme, version]);
    if (wanted !== made) {
      const open = [...cards.querySelectorAll("details")].map((d) => d.open);
      const built = list.map((_, k) => cardOf(k, noun, entries, list, colours, edit));
      cards.replaceChildren(...built.map(({card}) => card));
      [...cards.querySelectorAll("details")].forEach((d, k) => { d.open ||= open[k] ?? false; });
      [made, updates] = [wanted, built.map((each) => each.update)];
    }
    add.hidden = list.length >= MOST;
    updates.forEach((one, k) => one(list[k], texts[k]));
  };
  return {cards, add, update};
}

// Everything that the cards may do to a list: `read` it, `write` it anew. `fitted(name)` is how a new one begins.
function editsOf(read, write, entries, fitted, favourites) {
  const put = (change) => {
    const list = [...read()];
    change(list);
    write(list);
  };
  return {
    replace: (k, name) => put((all) => { all[k] = fitted(name); }),
    remove: (k) => put((all) => { all.splice(k, 1); }),
    change: (k, control, value) => put((all) => {
      const {name, hyper} = all[k];
      all[k] = {name, hyper: changed(hyper, entries()[name].made.group, control, value)};
    }),
    add: () => put((all) => {
      const taken = all.map(({name}) => name);
      all.push(fitted(favourites.find((name) => !taken.includes(name)) ?? favourites[0]));
    }),
  };
}

function sharedRows(controls, set) {
  const rows = controls.map((control) => ({control, ...numberRow(control, "", (value) => set({[control.key]: value}))}));
  const update = (state) => rows.forEach(({control, show}) => show(state[control.key]));
  return {element: make("div", {class: "shared"}, ...rows.map(({row}) => row)), update};
}

// Each value is one that its control would take.
function sensibleHyper({controls, made}, hyper) {
  if (!made) return true; // it does not run, whatever they are
  return Object.entries(hyper).every(([key, value]) => {
    const found = controls.filter((control) => control.key === key);
    const pair = Array.isArray(made.group[key]);
    return found.length > 0 && Array.isArray(value) === pair && (!pair || value.length === found.length)
      && found.every(({index, kind, options, least, most}) => {
        const part = index === null ? value : value[index];
        if (kind === "switch") return typeof part === "boolean";
        return kind === "menu" ? options.includes(part) : typeof part === "number" && part >= least && part <= most;
      });
  });
}
