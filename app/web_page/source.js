// Where the picture comes from: test pictures, a file, a drawing, the webcam. Whatever it is becomes the bytes that
// the network takes, here in the browser; nothing else leaves it.

import { $, fromBase64, make, paint } from "./draw.js";

export class Source {
  /** `ask(path)` gets JSON; `chosen({bytes, shape, note, truth})` is told each picture. */
  constructor(ask, chosen) {
    this.ask = ask;
    this.chosen = chosen;
    this.first = 0;
    this.last = null; // what a file or the camera gave: drawn again when the network or the inversion changes
    this.tabs();
    this.file();
    this.pad();
    this.camera();
    $("#earlier").addEventListener("click", () => this.gallery(this.first - 24));
    $("#later").addEventListener("click", () => this.gallery(this.first + 24));
    $("#invert").addEventListener("change", () => this.last && this.picture(this.last.image, this.last.note, false));
  }

  /** Another network: its pictures, its size. */
  async model(model) {
    this.current = model;
    const [height, width, channels] = model.shape;
    document.querySelectorAll(".size").forEach((e) => (e.textContent = `${width} × ${height}`));
    $("#tab-draw").hidden = channels !== 1;
    this.last = null;
    $("#invert-row").hidden = true;
    if (model.pictures) await this.gallery(0);
    $("#tab-test").hidden = model.pictures === 0;
    this.show(model.pictures ? "test" : "file");
  }

  tabs() {
    this.buttons = [...document.querySelectorAll('[role="tab"]')];
    for (const button of this.buttons) {
      button.addEventListener("click", () => this.show(button.id.slice(4)));
      button.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const seen = this.buttons.filter((b) => !b.hidden);
        const next = seen[(seen.indexOf(button) + step + seen.length) % seen.length];
        next.focus();
        this.show(next.id.slice(4));
      });
    }
  }

  show(name) {
    for (const button of this.buttons) {
      const on = button.id === `tab-${name}`;
      button.setAttribute("aria-selected", on);
      button.tabIndex = on ? 0 : -1;
      $(`#source-${button.id.slice(4)}`).hidden = !on;
    }
    if (name !== "cam") this.stopCamera();
    if (name === "draw" || name === "test") $("#invert-row").hidden = true;
  }

  // --- test pictures

  async gallery(first) {
    const model = this.current;
    const got = await this.ask(`api/pictures?model=${encodeURIComponent(model.name)}&from=${Math.max(0, first)}`);
    if (model !== this.current) return;
    this.first = got.from;
    const all = fromBase64(got.x);
    const size = got.shape[0] * got.shape[1] * got.shape[2];
    const buttons = Array.from({ length: got.count }, (_, i) => {
      const bytes = all.subarray(i * size, (i + 1) * size);
      const truth = got.y ? model.labels[got.y[i]] : null;
      const button = make("button", { type: "button", title: truth ?? "" }, make("canvas"));
      button.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-label", `Test picture ${got.from + i}${truth ? ": " + truth : ""}`);
      paint(button.firstChild, bytes, got.shape);
      button.addEventListener("click", () => {
        for (const other of buttons) other.setAttribute("aria-pressed", other === button);
        this.last = null;
        this.chosen({ bytes, shape: got.shape, note: `Test picture ${got.from + i}`, truth });
      });
      return button;
    });
    $("#gallery").replaceChildren(...buttons);
    $("#gallery-range").textContent = `${got.from + 1} to ${got.from + got.count} of ${model.pictures}`;
    $("#earlier").disabled = got.from === 0;
    $("#later").disabled = got.from + got.count >= model.pictures;
  }

  // --- a picture of any size

  /** Cuts and scales a drawable to the network's input. `fresh`: also guess whether it must be inverted. */
  picture(image, note, fresh = true) {
    const [height, width, channels] = this.current.shape;
    const w = image.videoWidth || image.width, h = image.videoHeight || image.height;
    const scale = Math.min(w / width, h / height);
    const [cw, ch] = [width * scale, height * scale];
    let from = make("canvas", { width: Math.max(1, Math.round(cw)), height: Math.max(1, Math.round(ch)) });
    const pen = from.getContext("2d");
    pen.fillStyle = "#fff"; // what is transparent is white
    pen.fillRect(0, 0, from.width, from.height);
    pen.drawImage(image, (w - cw) / 2, (h - ch) / 2, cw, ch, 0, 0, from.width, from.height);
    while (from.width > 2 * width && from.height > 2 * height) from = scaled(from, from.width >> 1, from.height >> 1);
    const rgba = scaled(from, width, height).getContext("2d").getImageData(0, 0, width, height).data;
    const bytes = new Uint8Array(width * height * channels);
    for (let i = 0; i < width * height; i++) {
      const [r, g, b] = rgba.subarray(4 * i, 4 * i + 3);
      if (channels === 3) bytes.set([r, g, b], 3 * i);
      else bytes[i] = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
    }
    $("#invert-row").hidden = channels !== 1;
    if (channels === 1) {
      if (fresh) $("#invert").checked = border(bytes, width, height) > 127;
      if ($("#invert").checked) for (let i = 0; i < bytes.length; i++) bytes[i] = 255 - bytes[i];
    }
    this.last = { image, note };
    this.unpress();
    this.chosen({ bytes, shape: this.current.shape, note, truth: null });
  }

  unpress() {
    document.querySelectorAll("#gallery button").forEach((b) => b.setAttribute("aria-pressed", "false"));
  }

  file() {
    const take = async (file) => {
      if (!file) return;
      try {
        this.picture(await createImageBitmap(file), file.name);
      } catch {
        this.chosen(null, `${file.name} is no picture that this browser can read.`);
      }
    };
    $("#file").addEventListener("change", (event) => take(event.target.files[0]));
    const drop = $("#drop");
    for (const kind of ["dragover", "dragleave", "drop"]) {
      drop.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", kind === "dragover");
        if (kind === "drop") take(event.dataTransfer.files[0]);
      });
    }
  }

  // --- drawing

  pad() {
    const pad = $("#pad"), pen = pad.getContext("2d");
    let down = false, at = [140, 140];
    const clear = () => {
      pen.fillStyle = "#000";
      pen.fillRect(0, 0, 280, 280);
      at = [140, 140];
    };
    const line = (to) => {
      Object.assign(pen, { strokeStyle: "#fff", lineWidth: 22, lineCap: "round", lineJoin: "round" });
      pen.beginPath();
      pen.moveTo(...at);
      pen.lineTo(...to);
      pen.stroke();
    };
    const place = (event) => {
      const box = pad.getBoundingClientRect();
      return [((event.clientX - box.left) * 280) / box.width, ((event.clientY - box.top) * 280) / box.height];
    };
    const done = () => {
      const bytes = centred(pen.getImageData(0, 0, 280, 280), this.current.shape);
      if (!bytes) return;
      this.last = null;
      this.unpress();
      this.chosen({ bytes, shape: this.current.shape, note: "Your drawing", truth: null });
    };
    pad.addEventListener("pointerdown", (event) => {
      pad.setPointerCapture(event.pointerId);
      down = true;
      at = place(event);
      line(at);
    });
    pad.addEventListener("pointermove", (event) => {
      if (!down) return;
      const to = place(event);
      line(to);
      at = to;
    });
    for (const kind of ["pointerup", "pointercancel"]) {
      pad.addEventListener(kind, () => {
        if (down) done();
        down = false;
      });
    }
    let lowered = false;
    pad.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-14, 0], ArrowRight: [14, 0], ArrowUp: [0, -14], ArrowDown: [0, 14] }[event.key];
      if (event.key === " ") lowered = !lowered;
      else if (!step) return;
      event.preventDefault();
      const to = step ? at.map((v, i) => Math.min(280, Math.max(0, v + step[i]))) : at;
      if (lowered) line(to);
      at = to;
      if (lowered) done();
    });
    $("#clear").addEventListener("click", clear);
    clear();
  }

  // --- webcam

  camera() {
    const video = $("#camera"), note = $("#camera-note");
    $("#camera-on").addEventListener("click", async () => {
      try {
        video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
        await video.play();
        $("#snap").disabled = false;
        note.textContent = "";
      } catch (error) {
        note.textContent = `No camera: ${error.message}. Allow it for this page, or choose a file.`;
      }
    });
    $("#snap").addEventListener("click", async () => this.picture(await createImageBitmap(video), "From the webcam"));
  }

  stopCamera() {
    const video = $("#camera");
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    $("#snap").disabled = true;
  }
}

function scaled(from, width, height) {
  const to = make("canvas", { width, height });
  const pen = to.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.drawImage(from, 0, 0, width, height);
  return to;
}

function border(bytes, width, height) {
  let sum = 0, n = 0;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (!x || !y || x === width - 1 || y === height - 1) (sum += bytes[y * width + x]), n++;
  return sum / n;
}

/** A drawing as MNIST's pictures were made: its box scaled into 20/28 of the picture, its mass in the middle. */
function centred(image, [height, width]) {
  const n = image.width;
  let [x0, y0, x1, y1] = [n, n, -1, -1];
  for (let y = 0; y < n; y++)
    for (let x = 0; x < n; x++)
      if (image.data[4 * (y * n + x)] > 20) {
        x0 = Math.min(x0, x); x1 = Math.max(x1, x);
        y0 = Math.min(y0, y); y1 = Math.max(y1, y);
      }
  if (x1 < 0) return null;
  const side = Math.max(x1 - x0, y1 - y0) + 1;
  const whole = make("canvas", { width: n, height: n });
  whole.getContext("2d").putImageData(image, 0, 0);
  const box = Math.round((20 / 28) * Math.min(width, height));
  let cut = make("canvas", { width: side, height: side });
  cut.getContext("2d").drawImage(whole, x0 - (side - (x1 - x0 + 1)) / 2, y0 - (side - (y1 - y0 + 1)) / 2, side, side, 0, 0, side, side);
  while (cut.width > 2 * box) cut = scaled(cut, cut.width >> 1, cut.width >> 1);
  const small = scaled(cut, box, box).getContext("2d").getImageData(0, 0, box, box).data;
  let [mass, mx, my] = [0, 0, 0];
  for (let i = 0; i < box * box; i++) {
    mass += small[4 * i];
    mx += small[4 * i] * (i % box);
    my += small[4 * i] * Math.floor(i / box);
  }
  const dx = Math.round(width / 2 - 0.5 - mx / mass), dy = Math.round(height / 2 - 0.5 - my / mass);
  const bytes = new Uint8Array(width * height);
  for (let y = 0; y < box; y++)
    for (let x = 0; x < box; x++) {
      const [tx, ty] = [x + dx, y + dy];
      if (tx >= 0 && ty >= 0 && tx < width && ty < height) bytes[ty * width + tx] = small[4 * (y * box + x)];
    }
  return bytes;
}
