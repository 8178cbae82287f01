// How values are distributed, and the pairs at both ends.
const DIRECTION = { higher: "higher is better", lower: "lower is better", "near zero": "near zero is better", "": "" };

const bars = (counts, variant) => {
  const top = Math.max(...counts);
  const svg = drawn("svg", { class: `bars v${variant % 6}`, viewBox: `0 0 ${counts.length} 10`, preserveAspectRatio: "none", "aria-hidden": "true" });
  counts.forEach((count, index) => {
    if (count) svg.append(drawn("rect", { x: index + 0.05, y: 10 - (10 * count) / top, width: 0.9, height: (10 * count) / top }));
  });
  return svg;
};

const total = (found) => Object.values(found.counts).flat().reduce((a, b) => a + b, 0);

const plot = (found) => {
  const rows = Object.entries(found.counts).map(([variant, counts], index) => make("div", { class: "ridge" },
    make("span", { class: "soft" }, variant), bars(counts, index), make("span", { class: "number" }, short(found.medians[variant]))));
  const missing = Object.entries(found.missing).map(([reason, count]) => `${reason} ${count}`).join(", ");
  return make("figure", { class: "plot" },
    make("figcaption", {}, make("b", {}, found.name), " ", make("span", { class: "soft" }, DIRECTION[found.better])),
    ...rows,
    make("div", { class: "ridge axis" }, make("span"), make("div", { class: "ends" }, make("span", {}, short(found.low, 3)), make("span", {}, short(found.high, 3))), make("span", { class: "number" }, "median")),
    make("p", { class: "soft" }, `${total(found)} of ${page.rows} pairs${missing ? `; without: ${missing}` : ""}`));
};

const few = (row) => {
  const judged = ["truth", "result", "truth − result"];
  const names = row.preview?.panels.map(([name]) => name) ?? [];
  return names.includes("truth") ? judged : ["reference", "driver", "result"];
};

const end = async (title, found, positions) => {
  const rows = await Promise.all(positions.map(rowAt));
  const column = page.metrics.indexOf(found.name);
  const value = (row) => (column >= 0 ? row.scores?.[column] : row.facts?.find(([name]) => name === found.name)?.[1]);
  return make("div", { class: "end" }, make("h3", {}, title), make("div", { class: "cards" },
    ...rows.map((row) => card(row, { level: "h4", only: few(row), lead: `${found.name} ${short(value(row))}` }))));
};

const bothEnds = () => {
  const found = page.distributions[Number(byId("metric").value)];
  return Promise.all([end("Worst", found, found.worst), end("Best", found, found.best)]);
};

const showEnds = newestOnly(byId("ends"), bothEnds, (ends) => byId("ends").replaceChildren(...ends));

const showScores = () => {
  if (!page.distributions.length) return;
  const [main, rest] = [true, false].map((wanted) => page.distributions.filter((found) => found.main === wanted));
  byId("plots").append(...main.map(plot));
  byId("more-plots").hidden = !rest.length;
  byId("more-plots").addEventListener("toggle", () => byId("other-plots").replaceChildren(...rest.map(plot)), { once: true });
  page.distributions.forEach((found, index) => {
    if (found.worst.length) byId("metric").append(make("option", { value: index }, found.name));
  });
  byId("ends-tools").hidden = !byId("metric").options.length;
  if (byId("metric").options.length) {
    byId("metric").addEventListener("change", showEnds);
    whenNear(byId("ends"), showEnds);
  }
};

const whenNear = (element, act) => {
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    Promise.resolve(act()).catch((error) => element.replaceChildren(note(error.message)));
  }, { rootMargin: "600px" });
  near.observe(element);
};
