// The page: choose, send, watch, replay. Everything shown comes from the demo process's own answers.

import { $, make, paint } from "./draw.js";
import { Cost } from "./cost.js";
import { Show } from "./show.js";
import { Source } from "./source.js";

const INGESTS = {
  rlwe: "Lattice encryption under the helper's public key: 3.75 bytes a pixel.",
  "rlwe-sk": "Lattice encryption under a secret shared with the helper: 1.4 bytes a pixel.",
  aes: "AES-CTR, which most boards have in hardware: one byte a pixel.",
};
const REPLAY_S = 10;

let state, model, picture, source, cost, events = [], busy = false, replaying = 0;
const show = new Show(say);

function say(text, bad = false) {
  const status = $("#status");
  status.textContent = replaying > 1 ? `Replay, ${replaying} times slower. ${text}` : replaying ? `Replay. ${text}` : text;
  status.classList.toggle("bad", bad);
}

async function ask(path, options) {
  const answer = await fetch(path, options);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return body;
}

const motion = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");

function guarded(action) {
  return (...values) => Promise.resolve(action(...values)).catch((error) => {
    busy = false;
    ready();
    say(error instanceof TypeError ? "The demo process does not answer: is it still running?" : error.message, true);
  });
}

function ready() {
  $("#send").disabled = busy || replaying > 0 || !picture;
  $("#send").textContent = busy ? "On its way" : "Encrypt and send";
  for (const id of ["#model", "#ingest"]) $(id).disabled = busy || replaying > 0;
  $("#replay").hidden = $("#save").hidden = busy || !events.length;
}

function chosen(got, why) {
  if (!got) return say(why, true);
  picture = got;
  paint($("#preview"), got.bytes, got.shape, `${got.note}${got.truth ? ": " + got.truth : ""}`);
  $("#preview-note").textContent = got.note + (got.truth ? `: ${got.truth}` : "");
  say("Ready to send.");
  ready();
}

async function choose(name) {
  model = state.models.find((m) => m.name === name);
  picture = null;
  show.prepare(model);
  await source.model(model);
  $("#gallery button")?.click();
  ready();
  await cost.show(model, $("#ingest").value);
}

async function send() {
  const sent = picture, ingest = $("#ingest").value;
  busy = true;
  events = [];
  ready();
  show.reset(model, sent, ingest);
  say("The device wakes.");
  if ($("#way").getBoundingClientRect().top > 0.6 * innerHeight) $("#way").scrollIntoView({ block: "start", behavior: motion() });
  const path = `api/runs?model=${encodeURIComponent(model.name)}&ingest=${ingest}`;
  const { run } = await ask(path, { method: "POST", body: sent.bytes, headers: { "Content-Type": "application/octet-stream" } });
  await new Promise((resolve, reject) => {
    const stream = new EventSource(`api/runs/${run}`);
    stream.onmessage = (message) => {
      const event = JSON.parse(message.data);
      events.push(event);
      show.take(event);
      if (event.event !== "end" && event.event !== "error") return;
      stream.close();
      event.event === "end" ? resolve() : reject(new Error(event.why));
    };
    stream.onerror = () => stream.readyState === EventSource.CLOSED && reject(new TypeError());
  });
  busy = false;
  ready();
  const first = events.find((e) => e.event === "published"), last = events.find((e) => e.event === "result");
  await cost.show(model, ingest, Math.max(0.001, last.t - first.t));
}

/** The recording once more, its time stretched to REPLAY_S seconds. */
async function replay() {
  const from = events[0].t, real = events.at(-1).t - from;
  const factor = Math.max(1, REPLAY_S / real);
  replaying = Math.round(factor);
  ready();
  show.reset(show.model, show.picture, events[0].ingest);
  const began = performance.now();
  $("#way").scrollIntoView({ block: "start", behavior: motion() });
  for (const event of [...events].sort((a, b) => a.t - b.t)) {
    const wait = (event.t - from) * factor * 1e3 - (performance.now() - began);
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    show.take(event);
  }
  replaying = 0;
  ready();
}

function save() {
  const url = URL.createObjectURL(new Blob([JSON.stringify(events, null, 1)], { type: "application/json" }));
  make("a", { href: url, download: "blindsight-recording.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

async function start() {
  state = await ask("api/state");
  $("#model").replaceChildren(
    ...state.models.map((m) => make("option", { value: m.name, textContent: `${m.name}, ${m.shape[1]}×${m.shape[0]}${m.shape[2] === 3 ? " colour" : ""}, ${m.labels.length} classes` })),
  );
  $("#ingest").replaceChildren(...state.ingests.map((mode) => make("option", { value: mode, textContent: mode })));
  $("#ingest").value = state.ingest;
  const note = () => ($("#ingest-note").textContent = INGESTS[$("#ingest").value]);
  note();
  source = new Source(ask, chosen);
  cost = new Cost(ask, state);
  $("#model").value = state.first;
  $("#model").addEventListener("change", guarded(() => choose($("#model").value)));
  $("#ingest").addEventListener("change", guarded(() => { note(); return cost.show(model, $("#ingest").value); }));
  $("#board").addEventListener("change", guarded(() => cost.show()));
  $("#send").addEventListener("click", guarded(send));
  $("#replay").addEventListener("click", guarded(replay));
  $("#save").addEventListener("click", save);
  await choose(state.first);
}

guarded(start)();
