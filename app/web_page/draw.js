// Small tools: elements, numbers, and bytes as pictures.

export const $ = (selector) => document.querySelector(selector);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** Paints bytes, (height, width, channels) with 1 or 3 channels, pixel by pixel. */
export function paint(canvas, bytes, [height, width, channels], label) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let k = 0; k < 3; k++) image.data[4 * i + k] = bytes[channels * i + (channels === 3 ? k : 0)];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  if (label) canvas.setAttribute("aria-label", label);
}

/** From planes (c, h, w) to pixels (h, w, c); other than three planes: the first alone. */
export function interleave(planes, [channels, height, width]) {
  if (channels !== 3) return [planes.subarray(0, height * width), [height, width, 1]];
  const size = height * width;
  const out = new Uint8Array(3 * size);
  for (let i = 0; i < size; i++) for (let k = 0; k < 3; k++) out[3 * i + k] = planes[k * size + i];
  return [out, [height, width, 3]];
}

export function blank(canvas) {
  canvas.width = canvas.height = 1;
  canvas.setAttribute("aria-label", "Nothing yet");
}

export const whole = (n) => Math.round(n).toLocaleString("en");
export const bytesText = (n) => (n < 10000 ? `${whole(n)} B` : n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(2)} MB`);
export const hex = (n) => "0x" + n.toString(16).padStart(8, "0");

/** Three significant digits with a unit that fits. */
export function seconds(s) {
  if (s < 0.0995) return `${(1e3 * s).toPrecision(s < 0.00995 ? 2 : 3)} ms`;
  if (s < 0.9995) return `${Math.round(1e3 * s)} ms`;
  return `${s < 100 ? s.toPrecision(3) : whole(s)} s`;
}
export function joules(mj) {
  return mj < 1 ? `${whole(1e3 * mj)} µJ` : mj < 1000 ? `${mj.toPrecision(3)} mJ` : `${(mj / 1e3).toPrecision(3)} J`;
}

/** Term and value pairs into a <dl>. */
export function facts(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([term, value]) => [make("dt", { textContent: term }), make("dd", { textContent: value })]));
}
