// A state as a link, and as Python writes values.

function python(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, v]) => `${JSON.stringify(key)}: ${python(v)}`).join(", ")}}`;
}

// Each explorer of a page has its own name in a link: explorers are counted from the top.
const nameIn = (host) => `explorer-${[...document.querySelectorAll(".dlopt-explorer")].indexOf(host) + 1}`;

function linkTo(host, state) {
  const bytes = new TextEncoder().encode(JSON.stringify(state));
  const text = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return `${location.href.split("#")[0]}#${nameIn(host)}.${text}`;
}

// The state in the page's address, if it is this explorer's and `sensible`; a link may hold anything.
function fromLink(host, sensible) {
  const [name, text] = location.hash.slice(1).split(".");
  if (name !== nameIn(host) || !text) return null;
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    const given = JSON.parse(new TextDecoder().decode(bytes));
    return sensible(given) ? given : null;
  } catch {
    return null;
  }
}

// Whether `value` is a number in its bounds, a whole one unless told otherwise; whether a table has the name.
const numberIn = (value, low, high, whole = true) =>
  typeof value === "number" && value >= low && value <= high && (!whole || Number.isInteger(value));
const knownIn = (table, name) => typeof name === "string" && Object.hasOwn(table, name);
