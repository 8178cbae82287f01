// The list of pairs: what is wanted, page by page, as cards or as a table.
const state = { found: [], page: 0, down: false };

const wantedTests = () => {
  const tests = (byId("find").value.match(TERM) ?? []).map(termTest);
  const status = byId("status").value;
  if (status) tests.push(status === "warnings" ? warnedTest() : termTest(status));
  if (byId("reason").value) tests.push(columnTest(columnNamed("reason"), "=", byId("reason").value));
  const column = columnNamed(byId("column").value);
  const [, operator, value] = /^\s*(<=|>=|=|<|>)?\s*(.*)$/s.exec(byId("value").value);
  if (column && value) tests.push(columnTest(column, operator ?? "=", value));
  return tests;
};

const update = newestOnly(
  byId("rows"),
  () => search(wantedTests(), byId("sort").value, byId("order").value === "down"),
  (found) => {
    state.found = found;
    state.page = 0;
    return show();
  },
);

const turn = (label, target, attributes = {}) => {
  const button = make("button", { type: "button", ...attributes }, label);
  button.addEventListener("click", () => go(target));
  return button;
};

const go = async (target) => {
  state.page = target;
  await show();
  byId("pairs").scrollIntoView();
};

const pages = () => Math.max(1, Math.ceil(state.found.length / Number(byId("size").value)));

const showPager = () => {
  const pager = byId("pager");
  const count = pages();
  pager.hidden = count < 2;
  pager.replaceChildren();
  if (count < 2) return;
  pager.append(turn("Previous", state.page - 1, state.page ? {} : { disabled: "" }));
  let last = -1;
  for (const number of new Set([0, ...Array.from({ length: 5 }, (_, i) => state.page - 2 + i), count - 1])) {
    if (number < 0 || number >= count || number <= last) continue;
    if (number > last + 1) pager.append(make("span", {}, "…"));
    pager.append(turn(String(number + 1), number, number === state.page ? { "aria-current": "page" } : {}));
    last = number;
  }
  pager.append(turn("Next", state.page + 1, state.page < count - 1 ? {} : { disabled: "" }));
};

const rowsOfPage = () => {
  const size = Number(byId("size").value);
  state.page = Math.min(Math.max(state.page, 0), pages() - 1);
  return Promise.all(state.found.slice(state.page * size, (state.page + 1) * size).map(rowAt));
};

const show = newestOnly(byId("rows"), rowsOfPage, (rows) => {
  const first = state.page * Number(byId("size").value);
  byId("rows").replaceChildren(...(byId("view").value === "table" ? [tableOf(rows)] : rows.map((row) => card(row))));
  if (!rows.length) byId("rows").append(note(page.rows ? "No pair fits." : "The run has no pairs."));
  byId("shown").textContent = rows.length ? `${first + 1}–${first + rows.length} of ${state.found.length}` : "";
  showPager();
});

const openCard = (row) => {
  const dialog = make("dialog", { "aria-label": row.id });
  const close = make("button", { type: "button", class: "close" }, "Close");
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  dialog.append(close, card(row));
  document.body.append(dialog);
  dialog.showModal();
};

const cellOf = (row, name) => {
  const named = (entries) => entries?.find(([other]) => other === name)?.[1];
  const direct = { line: row.line, variant: row.variant, frames: row.result?.frames, stage: row.stage };
  if (name in direct) return direct[name] ?? "";
  const score = page.metrics.indexOf(name);
  const value = (score >= 0 ? row.scores?.[score] : undefined) ?? named(row.facts) ?? named(row.missing) ?? named(row.extra) ?? named(row.own);
  return typeof value === "number" ? short(value) : value ?? "";
};

const HIDDEN = new Set(["pair_id", "status", "reason", "warnings", "reference", "driver", "message", "seconds", "line"]);

const tableColumns = () => {
  const main = page.main.map(columnNamed);
  const rest = columns.filter((column) => !HIDDEN.has(column.name) && !page.main.includes(column.name));
  const of = (...groups) => rest.filter((column) => groups.includes(column.group));
  return [...of("pair"), ...main, ...of("manifest", "parameter"), ...of("score"), ...of("fact")];
};

const headOf = (name, label, number) => {
  const current = byId("sort").value === name;
  const down = byId("order").value === "down";
  const button = make("button", { type: "button", class: "sort" }, label, current ? (down ? " ↓" : " ↑") : "");
  button.addEventListener("click", () => {
    byId("order").value = current && !down ? "down" : "up";
    byId("sort").value = name;
    update();
  });
  const sorted = current ? { "aria-sort": down ? "descending" : "ascending" } : {};
  return make("th", { scope: "col", ...(number ? { class: "number" } : {}), ...sorted }, button);
};

const tableOf = (rows) => {
  const shown = tableColumns();
  const head = make("tr", {}, headOf("pair_id", "pair", false), headOf("status", "status", false), ...shown.map(({ name, number }) => headOf(name, name, number)));
  const body = rows.map((row) => {
    const open = make("button", { type: "button", class: "link mono" }, row.id);
    open.addEventListener("click", () => openCard(row));
    return make("tr", {}, make("th", { scope: "row" }, open),
      make("td", {}, make("span", { class: `tag ${row.status}` }, row.reason ?? row.status)),
      ...shown.map(({ name, number }) => make("td", number ? { class: "number" } : {}, cellOf(row, name))));
  });
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Pairs as a table" },
    make("table", { class: "pairs" }, make("thead", {}, head), make("tbody", {}, ...body)));
};
