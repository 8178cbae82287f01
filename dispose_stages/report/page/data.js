// Blocks of rows and columns: inside the page, or scripts beside it, which work on a disk too.
const page = JSON.parse(byId("data").textContent);
const blocks = new Map(Object.entries(page.inline).map(([key, value]) => [key, Promise.resolve(value)]));
const arriving = new Map();

window.disposeBlock = (key, text) => arriving.get(key)?.(JSON.parse(text));

const load = (key) => {
  if (!blocks.has(key)) {
    blocks.set(key, new Promise((resolve, reject) => {
      arriving.set(key, resolve);
      const script = make("script", { src: page.links[key] });
      script.addEventListener("error", () => reject(new Error(`${page.links[key]} is not beside this page`)));
      document.head.append(script);
    }));
  }
  return blocks.get(key);
};

const rowAt = async (position) => (await load(`rows${Math.floor(position / page.block)}`))[position % page.block];

const columns = page.columns.map(([name, group, number], index) => ({ name, group, number, key: `column${index}` }));
const columnNamed = (name) => columns.find((column) => column.name.toLowerCase() === name.toLowerCase());
