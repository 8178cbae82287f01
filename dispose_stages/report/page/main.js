// Wiring.
const refresh = (event) => {
  event?.preventDefault();
  update();
};

const fillColumns = () => {
  for (const column of columns) {
    if (column.name !== "message") byId("column").append(make("option", {}, column.name));
    byId("sort").append(make("option", { value: column.name }, column.name === "line" ? "line of the manifest" : column.name));
  }
  byId("sort").value = "line";
};

const wordsOfColumn = async () => {
  const column = columnNamed(byId("column").value);
  byId("value").disabled = !column;
  byId("value").value = "";
  byId("value").placeholder = column?.number ? "> 0.5" : "";
  return column && !column.number ? (await load(column.key))[0] : [];
};

const offerValues = newestOnly(byId("values"), wordsOfColumn, (words) =>
  byId("values").replaceChildren(...words.filter(Boolean).slice(0, 200).map((word) => make("option", { value: word }))));

const focusPair = (step) => {
  const cards = [...byId("rows").querySelectorAll(".pair")];
  if (!cards.length) return;
  const current = cards.findIndex((element) => element.contains(document.activeElement));
  const next = cards[Math.min(Math.max(current + step, 0), cards.length - 1)];
  const target = next.querySelector(".player") ?? next;
  if (target === next) next.tabIndex = -1;
  target.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
};

const KEYS = {
  "/": () => byId("find").focus(),
  j: () => focusPair(1),
  k: () => focusPair(-1),
  n: () => state.page < pages() - 1 && go(state.page + 1),
  p: () => state.page > 0 && go(state.page - 1),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=range], [type=checkbox]), select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});

byId("keys-button").hidden = false;
byId("keys-button").addEventListener("click", () => {
  byId("keys").hidden = !byId("keys").hidden;
  byId("keys-button").setAttribute("aria-expanded", String(!byId("keys").hidden));
});

for (const button of document.querySelectorAll("button.only")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    byId("reason").value = button.dataset.reason;
    update();
    byId("pairs").scrollIntoView();
  });
}

byId("play").checked = !still;
byId("play").addEventListener("change", () => {
  for (const element of document.querySelectorAll(".player")) {
    const player = players.get(element);
    player.held = false;
    if (!byId("play").checked) player.video.pause();
    inView.unobserve(element);
    inView.observe(element);
  }
});

const tools = byId("tools");
tools.hidden = page.rows < 2;
tools.addEventListener("submit", refresh);
let typing = 0;
const soon = () => {
  clearTimeout(typing);
  typing = setTimeout(update, 150);
};
for (const id of ["find", "value"]) byId(id).addEventListener("input", soon);
for (const id of ["status", "reason", "sort", "order"]) byId(id).addEventListener("change", refresh);
for (const id of ["view", "size"]) byId(id).addEventListener("change", show);
byId("column").addEventListener("change", () => offerValues().then(update));
fillColumns();
update();
showScores();
if (page.comparisons.length) whenNear(byId("grid"), showVariants);
