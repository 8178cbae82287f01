// All panels of a preview are parts of one video, so they are in step whatever the browser does.
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const players = new WeakMap();

const inView = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) players.get(target)?.seen(isIntersecting);
}, { rootMargin: "100px" });

// Figures of a row are equally high, whatever their proportions.
const proportioned = (element, ratio) => {
  element.style.flex = `${ratio} 1 ${ratio * 10}rem`;
  element.style.maxWidth = `${ratio * 18}rem`;
  return element;
};

const figure = (caption, shown, ratio) =>
  proportioned(make("figure", {}, shown, make("figcaption", {}, ...[caption].flat())), ratio);

const absent = (text) => make("div", { class: "absent" }, text);

const canvasOf = (width, height, label) => make("canvas", { width, height, role: "img", "aria-label": label });

// Twice doubled, for differences are small.
const drawDifference = (canvas, video, one, other) => {
  const context = canvas.getContext("2d");
  const [width, height] = [canvas.width, canvas.height];
  for (const [mode, [, left, w, h]] of [["copy", one], ["difference", other]]) {
    context.globalCompositeOperation = mode;
    context.drawImage(video, left, 0, w, h, 0, 0, width, height);
  }
  context.globalCompositeOperation = "lighter";
  for (let doubled = 0; doubled < 2; doubled++) context.drawImage(canvas, 0, 0);
};

class Player {
  // `differences`: pairs of names of panels. Their canvases, like the panels', are `canvases` by name.
  constructor(preview, label, differences = []) {
    this.preview = preview;
    this.frame = 0;
    this.wanted = null;
    this.held = false;
    this.canvases = new Map(preview.panels.map(([name, , width, height]) => [name, canvasOf(width, height, `${label}: ${name}`)]));
    const panel = (name) => preview.panels.find(([other]) => other === name);
    this.differences = differences.map(([one, other]) => {
      const [, , width, height] = panel(one);
      const canvas = canvasOf(width, height, `${label}: difference of ${one} and ${other}`);
      this.canvases.set(`${one} − ${other}`, canvas);
      return [canvas, panel(one), panel(other)];
    });
    this.video = make("video", { class: "hidden", preload: "auto", playsinline: "", loop: "", tabindex: "-1", "aria-hidden": "true" });
    this.video.muted = true;
    this.#controls(label);
    this.#listen();
  }

  #controls(label) {
    const last = this.preview.frames - 1;
    this.button = make("button", { type: "button", class: "play", "aria-label": "Play" }, "▶");
    this.scrub = make("input", { type: "range", min: 0, max: last, value: 0, "aria-label": "Frame" });
    this.told = make("output", {}, "");
    this.controls = make("div", { class: "controls" }, this.button, this.scrub, this.told);
    this.element = make("div", { class: "player", role: "group", "aria-label": `${label}, playing in step`, tabindex: "0" }, this.video);
    this.#tell();
  }

  #listen() {
    const { video } = this;
    video.addEventListener("loadeddata", () => this.#present(0));
    video.addEventListener("error", () => this.element.classList.add("lost"));
    video.addEventListener("seeked", () => {
      if (this.wanted !== null && this.wanted !== this.frame) this.#jump(this.wanted);
      else this.#draw();
    });
    for (const kind of ["play", "pause"]) video.addEventListener(kind, () => this.#told());
    this.button.addEventListener("click", () => this.toggle());
    this.scrub.addEventListener("input", () => this.go(Number(this.scrub.value)));
    this.element.addEventListener("keydown", (event) => this.#key(event));
    if ("requestVideoFrameCallback" in video) {
      const next = (now, { mediaTime }) => {
        this.#present(Math.round(mediaTime * this.preview.fps));
        video.requestVideoFrameCallback(next);
      };
      video.requestVideoFrameCallback(next);
    } else {
      video.addEventListener("timeupdate", () => this.#present(Math.floor(video.currentTime * this.preview.fps + 1e-3)));
    }
    players.set(this.element, this);
    inView.observe(this.element);
  }

  #key(event) {
    const last = this.preview.frames - 1;
    const from = this.wanted ?? this.frame; // keys come faster than frames
    const target = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (target !== undefined) this.go(Math.min(Math.max(target, 0), last));
    else if (event.key === " " && event.target.tagName !== "BUTTON") this.toggle();
    else return;
    event.preventDefault();
  }

  // While a frame is wanted, one that arrives late is another one's.
  #present(frame) {
    if (this.wanted === null) this.frame = Math.min(Math.max(frame, 0), this.preview.frames - 1);
    this.#draw();
  }

  #draw() {
    if (this.video.readyState < 2) return;
    for (const [name, left, width, height] of this.preview.panels) {
      this.canvases.get(name).getContext("2d").drawImage(this.video, left, 0, width, height, 0, 0, width, height);
    }
    for (const [canvas, one, other] of this.differences) drawDifference(canvas, this.video, one, other);
    this.#tell();
  }

  #tell() {
    const { step, frames } = this.preview;
    const text = `frame ${this.frame * step} of ${(frames - 1) * step}`;
    if (this.wanted === null) this.scrub.value = this.frame;
    this.scrub.setAttribute("aria-valuetext", text);
    this.told.textContent = text;
  }

  #told() {
    const { paused } = this.video;
    this.button.textContent = paused ? "▶" : "❚❚";
    this.button.setAttribute("aria-label", paused ? "Play" : "Pause");
  }

  #open() {
    if (!this.video.src) this.video.src = this.preview.link;
  }

  #jump(frame) {
    this.frame = frame;
    this.video.currentTime = (frame + 0.5) / this.preview.fps;
  }

  seen(visible) {
    if (visible) this.#open();
    if (!visible) this.video.pause();
    else if (byId("play").checked && !this.held) this.play();
  }

  play() {
    this.#open();
    this.wanted = null;
    this.video.play().catch(() => {});
  }

  toggle() {
    this.held = !this.video.paused;
    if (this.held) this.video.pause();
    else this.play();
  }

  go(frame) {
    this.#open();
    this.held = true;
    this.video.pause();
    this.wanted = frame;
    if (!this.video.seeking) this.#jump(frame);
    this.#tell();
  }
}
