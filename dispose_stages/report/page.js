"use strict";
(() => {
  const rows = JSON.parse(document.getElementById("data").textContent);
  const host = document.getElementById("rows");
  const pager = document.getElementById("pager");
  const [find, status, sort, size] = ["find", "status", "sort", "size"].map((id) => document.getElementById(id));
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let page = 0;

  // All text enters through textContent, so nothing in a manifest can become markup.
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };

  const playing = "IntersectionObserver" in window && !still
    ? new IntersectionObserver((entries) => {
        for (const { target, isIntersecting } of entries) {
          if (isIntersecting) target.play().catch(() => {});
          else target.pause();
        }
      }, { rootMargin: "100px" })
    : null;

  const picture = (entry, caption) => {
    const shown = entry
      ? make("img", { src: entry[0], width: entry[1], height: entry[2], alt: entry[3], loading: "lazy", decoding: "async" })
      : make("div", { class: "absent" }, "no picture");
    return make("figure", {}, shown, make("figcaption", {}, caption));
  };

  const result = (row) => {
    if (!row.result) {
      const why = row.status === "failed" ? "failed" : "not there yet";
      return make("figure", {}, make("div", { class: "absent" }, why), make("figcaption", {}, "Result"));
    }
    const { src, link, ratio } = row.result;
    const video = make("video", { src, controls: "", loop: "", playsinline: "", preload: "metadata", width: ratio[0], height: ratio[1], "aria-label": `Result of ${row.id}` });
    video.muted = true;
    video.addEventListener("error", () => video.replaceWith(make("div", { class: "absent" }, "the video file is not beside this page")), { once: true });
    playing?.observe(video);
    return make("figure", {}, video, make("figcaption", {}, "Result · ", make("a", { href: link }, "file")));
  };

  const fileName = (path) => make("span", { title: path }, path.split("/").pop());

  const terms = (entries, attributes = {}) => make("dl", {},
    ...entries.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", attributes, value))));

  const list = (title, entries, mono) => entries && entries.length
    ? make("details", {}, make("summary", {}, title), terms(entries, mono ? { class: "mono" } : {}))
    : null;

  const draw = (row) => {
    const facts = make("div", { class: "facts" },
      make("h3", { class: "mono" }, row.id),
      make("p", {}, make("span", { class: `tag ${row.status}` }, row.reason || row.status), row.stage ? ` in ${row.stage}` : ""),
      row.warnings ? make("p", {}, ...row.warnings.map((code) => make("span", { class: "tag warning" }, code))) : null,
      row.message ? make("p", { class: "message" }, row.message) : null,
      row.result ? make("p", { class: "soft" }, row.result.text) : null,
      make("p", { class: "soft" }, `line ${row.line}: `, fileName(row.image), " + ", fileName(row.video)),
      row.own ? terms(row.own) : null,
      row.extra ? terms(row.extra) : null,
      list("Detection and alignment", row.facts, false),
      list(`Time: ${row.time}`, row.times, false),
      list("Keys", row.keys, true));
    const media = make("div", { class: "media" },
      picture(row.reference, "Reference"), picture(row.driver, "Driver and pose"), picture(row.motion, "Motion field"), result(row));
    return make("article", { class: "pair" }, facts, media);
  };

  const haystack = rows.map((row) => [row.id, row.status, row.reason, row.message, row.stage, row.image, row.video,
    ...(row.warnings ?? []), ...[...(row.own ?? []), ...(row.extra ?? [])].map((entry) => entry.join("="))].join("\n").toLowerCase());

  const order = {
    line: (a, b) => a.line - b.line,
    id: (a, b) => a.id.localeCompare(b.id, undefined, { numeric: true }),
    status: (a, b) => a.status.localeCompare(b.status) || (a.reason ?? "").localeCompare(b.reason ?? ""),
    seconds: (a, b) => (b.seconds ?? 0) - (a.seconds ?? 0),
    frames: (a, b) => (b.result?.frames ?? 0) - (a.result?.frames ?? 0),
  };

  const chosen = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    return rows
      .filter((row, index) => (!status.value || row.status === status.value || (status.value === "warned" && row.warnings)) && words.every((word) => haystack[index].includes(word)))
      .sort((a, b) => order[sort.value](a, b) || a.line - b.line);
  };

  const turn = (label, target, attributes = {}) => {
    const button = make("button", { type: "button", ...attributes }, label);
    button.addEventListener("click", () => { page = target; show(); document.getElementById("pairs").scrollIntoView(); });
    return button;
  };

  const pages = (count) => {
    pager.hidden = count < 2;
    pager.replaceChildren();
    if (count < 2) return;
    pager.append(turn("Previous", page - 1, page ? {} : { disabled: "" }));
    let last = -1;
    for (let number = 0; number < count; number++) {
      if (number && number < count - 1 && Math.abs(number - page) > 2) continue;
      if (number > last + 1) pager.append(make("span", {}, "…"));
      pager.append(turn(String(number + 1), number, number === page ? { "aria-current": "page" } : {}));
      last = number;
    }
    pager.append(turn("Next", page + 1, page < count - 1 ? {} : { disabled: "" }));
  };

  const show = () => {
    const wanted = chosen();
    const perPage = Number(size.value);
    const count = Math.max(1, Math.ceil(wanted.length / perPage));
    page = Math.min(Math.max(page, 0), count - 1);
    const first = page * perPage;
    const visible = wanted.slice(first, first + perPage);
    playing?.disconnect();
    host.replaceChildren(...visible.map(draw));
    if (!visible.length) host.append(make("p", { class: "note" }, rows.length ? "No pair fits." : "The run has no pairs."));
    document.getElementById("shown").textContent = visible.length ? `${first + 1}–${first + visible.length} of ${wanted.length}` : "";
    pages(count);
  };

  const tools = document.getElementById("tools");
  tools.hidden = rows.length < 2;
  tools.addEventListener("submit", (event) => event.preventDefault());
  for (const control of [find, status, sort, size]) control.addEventListener("input", () => { page = 0; show(); });
  show();
})();
