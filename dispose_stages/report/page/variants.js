// Variants of one pair in columns: each result, and how far it is from `full`.
const variantCell = (name, row, player, against) => {
  const shown = player.canvases.get(name);
  const far = player.canvases.get(`${name} − ${against}`);
  const blank = make("canvas", { width: shown.width, height: shown.height, class: "blank", "aria-hidden": "true" });
  return make("div", { class: "variant" },
    make("h4", {}, name),
    shown,
    make("div", { class: "soft" }, far ? `− ${against}, ×4` : "\u00a0"),
    far ?? blank,
    row ? terms([["pair", make("span", { class: "mono" }, row.id)], ...mainScores(row)]) : null);
};

const comparisonCard = async ({ label, rows, preview }) => {
  const names = preview.panels.map(([name]) => name);
  const [against, ...others] = names;
  const player = new Player(preview, label, others.map((name) => [name, against]));
  const positions = new Map(rows);
  const found = await Promise.all(names.map((name) => rowAt(positions.get(name))));
  player.element.append(
    make("div", { class: "variants", tabindex: "0", role: "region", "aria-label": `Variants of ${label}` }, ...names.map((name, index) => variantCell(name, found[index], player, against))),
    make("p", { class: "gone note" }, "The preview is not beside this page."), player.controls);
  return make("article", { class: "pair" }, make("h3", { class: "mono" }, label), player.element);
};

const showVariants = async () => {
  byId("grid").replaceChildren(...(await Promise.all(page.comparisons.map(comparisonCard))));
};
