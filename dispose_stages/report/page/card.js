// One pair: its pictures in step, and what is known of it.
const CAPTIONS = {
  driver: "Driver",
  "poses found": "Driver, poses found",
  fits: "Bodies",
  pose: "Pose, aligned",
  trajectories: "Trajectories",
  field: "Motion field",
  truth: "Truth",
  result: "Result",
  "truth − result": "Truth − result, ×4",
};

const fileName = (path) => make("span", { title: path }, path.split("/").pop());

const wheel = (limit) => make("span", { class: "wheel" },
  make("img", { src: page.wheel, width: 22, height: 22, alt: "colours by direction" }), ` to ${short(limit)} px`);

// As motion.overlay draws them.
const BODIES = { reference: "rgb(255 255 255)", driver: "rgb(130 130 130)", official: "rgb(235 70 60)", proportions: "rgb(60 210 90)" };

const bodies = (drawn) => Object.entries(BODIES).slice(0, drawn).map(([name, colour]) => {
  const key = make("span", { class: "body-key" }, name);
  key.style.setProperty("--colour", colour);
  return key;
});

const captionOf = (name, row) => {
  if (name === "field") return [CAPTIONS.field, wheel(row.preview.limit)];
  return name === "fits" ? bodies(row.warnings?.includes("aligned_as_official") ? 3 : 4) : CAPTIONS[name] ?? name;
};

const reference = (row) => {
  if (!row.reference) return null;
  const image = make("img", { src: row.reference, alt: `reference of ${row.id}`, loading: "lazy", decoding: "async" });
  const shown = figure("Reference", image, 9 / 16);
  image.addEventListener("load", () => proportioned(shown, image.naturalWidth / image.naturalHeight));
  image.addEventListener("error", () => image.replaceWith(absent("the picture is not beside this page")));
  return shown;
};

// Pairs without a preview show the delivered file by itself.
const delivered = (row) => {
  const [width, height] = row.result.ratio;
  const video = make("video", { src: row.result.link, controls: "", loop: "", playsinline: "", preload: "none", "aria-label": `Result of ${row.id}` });
  video.muted = true;
  video.addEventListener("error", () => video.replaceWith(absent("the video is not beside this page")), { once: true });
  return figure("Result, as delivered", video, width / height || 9 / 16);
};

const media = (row, only) => {
  const stills = !only || only.includes("reference") ? [reference(row)].filter(Boolean) : [];
  if (!row.preview) {
    const rest = row.result ? [delivered(row)] : [];
    return stills.length + rest.length ? make("div", { class: "media" }, ...stills, ...rest) : null;
  }
  const names = row.preview.panels.map(([name]) => name);
  const both = names.includes("truth") && names.includes("result");
  const player = new Player(row.preview, row.id, both ? [["truth", "result"]] : []);
  const wanted = [...player.canvases].filter(([name]) => !only || only.includes(name));
  const figures = wanted.map(([name, canvas]) => figure(captionOf(name, row), canvas, canvas.width / canvas.height));
  player.element.append(make("div", { class: "media" }, ...stills, ...figures),
    make("p", { class: "gone note" }, "The preview is not beside this page."), player.controls);
  return player.element;
};

const scoresOf = (row) => (row.scores ?? []).map((value, index) => [page.metrics[index], value]).filter(([, value]) => value !== null);

const mainScores = (row) => {
  const found = new Map(scoresOf(row));
  return page.main.filter((name) => found.has(name)).map((name) => [name, short(found.get(name))]);
};

const heading = (row, level) => make("header", {},
  make(level, { class: "mono" }, row.id),
  make("span", { class: `tag ${row.status}` }, row.reason ?? row.status),
  row.stage ? make("span", { class: "soft" }, `in ${row.stage}`) : null,
  row.variant === "full" ? null : make("span", { class: "tag" }, row.variant),
  ...(row.warnings ?? []).map((code) => make("span", { class: "tag warning" }, code)),
  row.result ? make("a", { href: row.result.link }, "video") : null,
  row.result ? make("span", { class: "soft" }, row.result.text) : null);

const known = (row) => make("div", { class: "known" },
  make("p", { class: "soft" }, `line ${row.line}: `, fileName(row.image), " + ", fileName(row.video)),
  row.own || row.extra ? terms([...(row.own ?? []), ...(row.extra ?? [])], { class: "chips" }) : null,
  folded("All scores", [...scoresOf(row).map(([name, value]) => [name, short(value)]), ...(row.missing ?? [])]),
  folded("Detection and alignment", row.facts?.map(([name, value]) => [name, short(value)])),
  folded("Time", row.times));

const card = (row, { level = "h3", only = null, lead = null } = {}) => make("article", { class: "pair" },
  heading(row, level),
  lead ? make("p", { class: "lead" }, lead) : null,
  row.message ? make("p", { class: "message" }, row.message, row.log ? make("span", {}, " (", make("a", { href: row.log }, "log"), ")") : null) : null,
  media(row, only),
  only || !mainScores(row).length ? null : terms(mainScores(row), { class: "chips scores" }),
  only ? null : known(row));
