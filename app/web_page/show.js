// The way of one picture, from its recorded events: five cards, a row a layer, a row an MQTT message.

import { $, blank, bytesText, facts, fromBase64, hex, interleave, make, paint, seconds, whole } from "./draw.js";

const dump = (hexed) => (hexed ? `${hexed.replace(/(..)(?=.)/g, "$1 ")} …` : "nothing");
const WHO = ["device", "broker", "cloud", "helper", "answer"];

export class Show {
  constructor(say) {
    this.say = say;
  }

  /** Before a picture goes. */
  reset(model, picture, ingest) {
    Object.assign(this, { model, picture, start: 0, spans: [], up: 0, down: 0, messages: 0, told: {} });
    for (const who of WHO) {
      $(`#card-${who}`).className = `party ${who}`;
      facts($(`#facts-${who}`), []);
    }
    for (const who of WHO.slice(1, 4)) blank($(`#see-${who}`));
    paint($("#see-device"), picture.bytes, picture.shape, "The picture, as the device took it");
    $("#helper-saw").textContent = ingest === "aes" ? "its key stream; the cloud has picture xor this" : "what it decrypted: pixel + mask";
    $("#verdict").textContent = "?";
    $("#verdict").className = "verdict short";
    $("#verdict-note").textContent = "the answer";
    $("#verdict-note").className = "saw";
    $("#wire tbody").replaceChildren();
    $("#heard tbody").replaceChildren();
    this.prepare(model);
    this.active("device");
  }

  /** The network's layers, waiting. */
  prepare(model) {
    this.rows = new Map();
    $("#layers-sum").textContent = "";
    $("#layers tbody").replaceChildren(...model.layers.map((layer) => this.row(layer)));
  }

  row({ layer, kind, shape }) {
    const cell = () => make("td", {}, make("div", { className: "thumbs" }));
    const row = make(
      "tr", { className: "waiting" },
      make("td", {}, make("div", { className: "name", textContent: layer === "input" ? "pixels" : layer }),
        make("div", { className: "kind", textContent: `${kind.replace("_", " ")} ${shape.join("×")}` })),
      cell(), cell(), cell(),
      make("td", { className: "when" }, ...["cloud", "helper"].map((who) => make("div", { className: `lane ${who}` }, make("i", { hidden: true })))),
      ...["", "", ""].map(() => make("td", { className: "num" })),
    );
    this.rows.set(layer, { row, spans: {} });
    return row;
  }

  active(...who) {
    for (const name of WHO) {
      const card = $(`#card-${name}`);
      if (card.classList.contains("active") && !who.includes(name)) card.classList.add("done");
      card.classList.toggle("active", who.includes(name));
    }
  }

  tell(who, term, value) {
    (this.told[who] ??= new Map()).set(term, value);
    facts($(`#facts-${who}`), [...this.told[who]]);
  }

  /** One event; the same for what happens now and for a replay. */
  take(event) {
    if (event.event === "begin") this.start = event.t;
    this[`on_${event.event}`]?.(event);
  }

  on_begin(event) {
    this.expected = event.expected_label;
  }

  on_captured(event) {
    this.captured = event.t;
    this.say("The device has taken the picture and encrypts it.");
  }

  on_published(event) {
    this.tell("device", "encrypt + send", `${event.ms} ms`);
    this.tell("device", "bytes sent", whole(event.bytes));
    this.tell("device", "pixel bytes", whole(this.picture.bytes.length));
  }

  on_heap(event) {
    this.tell("device", "memory peak", `${whole(event.peak / 1024)} KiB`);
  }

  on_message(event) {
    this.messages++;
    this[event.way] += event.bytes;
    const row = make("tr", { className: event.way });
    for (const [text, number] of [[((event.t - this.start) * 1e3).toFixed(0), 1], [event.topic, 0], [whole(event.bytes), 1], [dump(event.head), 0]])
      row.append(make("td", { textContent: text, className: number ? "num" : "" }));
    $("#wire tbody").append(row);
    this.tell("broker", "messages", String(this.messages));
    this.tell("broker", "bytes up", whole(this.up));
    this.tell("broker", "bytes down", whole(this.down));
    if (event.way === "up") this.active("broker");
  }

  on_ciphertext(event) {
    paint($("#see-broker"), fromBase64(event.image), event.shape, "Noise: the first bytes of the ciphertext");
    this.noise("broker", event);
    this.say(`The ciphertext passes the broker: ${whole(event.bytes)} bytes.`);
  }

  noise(who, { entropy, correlation }) {
    this.tell(who, "entropy", `${entropy.toFixed(2)} bits`);
    this.tell(who, "correlation", correlation.toFixed(2));
  }

  on_run(event) {
    this.active("cloud", "helper");
    if (event.who === "cloud") this.say("Cloud and helper compute together, layer by layer.");
  }

  on_layer(event) {
    const entry = this.rows.get(event.layer);
    entry.spans[event.who] = event;
    this.spans.push(event);
    entry.row.classList.remove("waiting");
    const { cloud, helper } = entry.spans;
    const [ms, bytes, rounds] = [...entry.row.querySelectorAll(".num")];
    ms.textContent = (1e3 * Math.max(...[cloud, helper].filter(Boolean).map((e) => e.ended - e.begun))).toFixed(1);
    const one = cloud ?? helper;
    bytes.textContent = whole(one.sent + one.received);
    rounds.textContent = one.rounds;
    this.due ??= requestAnimationFrame(() => this.lanes());
  }

  lanes() {
    this.due = null;
    if (!this.spans.length) return;
    const from = Math.min(...this.spans.map((e) => e.begun)), to = Math.max(...this.spans.map((e) => e.ended));
    for (const { row, spans } of this.rows.values())
      for (const [who, e] of Object.entries(spans)) {
        const bar = row.querySelector(`.lane.${who} i`);
        bar.hidden = false;
        bar.style.left = `${(100 * (e.begun - from)) / (to - from)}%`;
        bar.style.width = `${(100 * (e.ended - e.begun)) / (to - from)}%`;
      }
    const cloud = this.spans.filter((e) => e.who === "cloud");
    const sum = (name) => cloud.reduce((total, e) => total + e[name], 0);
    $("#layers-sum").replaceChildren(
      make("strong", { textContent: seconds(to - from) }), " from the first to the last layer, ",
      make("strong", { textContent: bytesText(sum("sent") + sum("received")) }), " between the two servers, ",
      make("strong", { textContent: String(sum("rounds")) }), " rounds",
    );
    this.tell("cloud", "sent", bytesText(sum("sent")));
    this.tell("helper", "sent", bytesText(sum("received")));
  }

  on_opened(event) {
    paint($("#see-helper"), fromBase64(event.image), event.shape, "Noise: what the helper decrypted");
    this.noise("helper", event);
  }

  on_pixels(event) {
    const [bytes, shape] = interleave(fromBase64(event.image), event.shape);
    paint($("#see-cloud"), bytes, shape, "Noise: the cloud's share of the pixels");
    this.noise("cloud", event);
  }

  on_share(event) {
    this.thumbs(event);
    const cell = (text) => make("td", { textContent: text });
    const row = make("tr", {}, cell(event.layer), cell(dump(event.cloud_heard)), cell(dump(event.helper_heard)));
    $("#heard tbody").append(row);
  }

  on_halves(event) {
    this.result = event.result;
  }

  thumbs({ layer, shape, cloud, helper, sum, example }) {
    const { row } = this.rows.get(layer);
    const [channels, height, width] = shape;
    const cells = [...row.querySelectorAll(".thumbs")];
    [cloud, helper, sum].forEach((data, i) => {
      const bytes = fromBase64(data), what = ["the cloud's half, noise", "the helper's half, noise", "both together"][i];
      cells[i].classList.toggle("flat", height === 1);
      cells[i].replaceChildren(
        ...Array.from({ length: channels }, (_, c) => {
          const canvas = make("canvas");
          canvas.setAttribute("role", "img");
          paint(canvas, bytes.subarray(c * height * width, (c + 1) * height * width), [height, width, 1], `${layer}: ${what}`);
          return canvas;
        }),
      );
      const text = i < 2 ? `${hex(example[i])} ${i ? "=" : "+"}` : Number(example[2].toPrecision(4)).toString();
      cells[i].nextSibling?.remove();
      cells[i].after(make("div", { className: "formula", textContent: text }));
    });
  }

  on_result(event) {
    this.active("answer");
    $("#card-answer").classList.add("done");
    const label = event.label ?? this.model.labels[event.index];
    $("#verdict").textContent = label;
    $("#verdict").className = `verdict ${label.length < 3 ? "short" : ""}`;
    $("#verdict-note").textContent = label === this.expected ? "the answer, as the open network's" : `the open network says ${this.expected}`;
    $("#verdict-note").className = `saw ${label === this.expected ? "good" : "differs"}`;
    this.latency = event.t - this.captured;
    this.tell("answer", "after the shot", seconds(this.latency));
    const ranked = event.values ? event.values.map((v, i) => [v, i]).sort((a, b) => b[0] - a[0]) : (event.indices ?? []).map((i) => ["", i]);
    ranked.slice(0, 3).forEach(([value, i], place) => this.tell("answer", `${place + 1}. ${this.model.labels[i]}`, value === "" ? "" : value.toPrecision(3)));
    if (this.picture.truth) this.tell("answer", "true class", this.picture.truth);
    if (this.result && this.model.reveal === "top1") {
      this.tell("answer", "cloud's half", hex(this.result[0]));
      this.tell("answer", "helper's half", hex(this.result[1]));
      this.tell("answer", "sum mod 2³²", String(this.result[2]));
    }
    this.say(`The device knows: ${label}. ${seconds(this.latency)} after the picture was taken.`);
  }

  on_failure(event) {
    this.say(`The device was told: ${event.reason}`, true);
  }

  on_end() {
    this.lanes();
  }
}
