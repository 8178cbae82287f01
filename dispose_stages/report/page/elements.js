// Elements of the page. All text enters as text, so nothing in a manifest can become markup.
const byId = (id) => document.getElementById(id);

const fill = (element, attributes, children) => {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

const make = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);

const drawn = (name, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

const short = (value, digits = 4) => {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size && (size < 1e-3 || size >= 1e5) ? value.toExponential(digits - 2) : String(Number(value.toPrecision(digits)));
};

const terms = (entries, attributes = {}) => make("dl", attributes,
  ...entries.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));

const folded = (title, entries) => entries && entries.length
  ? make("details", {}, make("summary", {}, title), terms(entries, { class: "grid" }))
  : null;

const note = (text) => make("p", { class: "note" }, text);

// What is loaded arrives in any order: of calls that overlap, only the newest draws, or says what it lacked.
const newestOnly = (element, prepare, draw) => {
  let newest = 0;
  return async () => {
    const mine = ++newest;
    try {
      const found = await prepare();
      if (mine === newest) await draw(found);
    } catch (error) {
      if (mine === newest) element.replaceChildren(note(error.message));
    }
  };
};
