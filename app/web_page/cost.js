// The cost model's answer for the picture just sent, on the board of the person's choice.

import { $, bytesText, joules, make, seconds, whole } from "./draw.js";

const NET = new Set(["join", "tls handshake", "tls records", "radio", "round trips", "answer"]);
const BEFORE = new Set(["wake", "capture"]);
const AFTER = new Set(["hash", "interpreter"]);
const span = (band, text) => `${text(band.low)} to ${text(band.high)}`;

export class Cost {
  constructor(ask, state) {
    this.ask = ask;
    this.state = state;
    this.server = 1;
    const select = $("#board");
    select.replaceChildren(...state.boards.map((b) => make("option", { value: b.id, textContent: b.title })));
    const usual = state.boards.find((b) => b.id.startsWith("esp32-s3"));
    if (usual) select.value = usual.id;
  }

  /** For this network and encryption; `server`: the servers' seconds, once measured. */
  async show(model = this.model, ingest = this.ingest, server = this.server) {
    Object.assign(this, { model, ingest, server });
    const asked = (this.asked = Symbol());
    const query = (mode) => `api/cost?model=${encodeURIComponent(model.name)}&board=${$("#board").value}&ingest=${mode}&server_s=${server.toFixed(4)}`;
    const all = await Promise.all(this.state.ingests.map((mode) => this.ask(query(mode))));
    if (asked !== this.asked) return; // another choice was made meanwhile
    const costs = new Map(this.state.ingests.map((mode, i) => [mode, all[i]]));
    this.tiles(costs.get(ingest));
    this.stages(costs.get(ingest));
    this.modes(costs, ingest);
  }

  tiles(cost) {
    const tile = (value, what, range) => make("div", { className: "tile" }, make("b", { textContent: value }), make("span", { textContent: what }), make("span", { textContent: range }));
    const tiles = [
      tile(seconds(cost.seconds.mid), "awake for one picture", span(cost.seconds, seconds)),
      tile(joules(cost.millijoules.mid), "energy for one picture", span(cost.millijoules, joules)),
    ];
    if (cost.bytes) tiles.push(tile(bytesText(cost.bytes.total.mid), "on the air, all layers, both ways", span(cost.bytes.total, bytesText)));
    tiles.push(tile(bytesText(cost.ram.core.mid), "memory of the encryption, stack included", ""));
    if (cost.battery_days)
      tiles.push(tile(`${whole(cost.battery_days.mid)} days`, `on ${whole(this.state.battery_mah)} mAh at ${this.state.per_day} pictures a day`, span(cost.battery_days, whole)));
    else tiles.push(tile(`${whole(cost.day_joules.mid / 1000)} kJ`, `a day, on mains, ${this.state.per_day} pictures`, span(cost.day_joules, (j) => `${whole(j / 1000)} kJ`)));
    $("#tiles").replaceChildren(...tiles);
  }

  stages(cost) {
    const core = cost.stages.filter((s) => !NET.has(s.name) && !BEFORE.has(s.name) && !AFTER.has(s.name));
    const sum = (what) => Object.fromEntries(["low", "mid", "high"].map((k) => [k, core.reduce((t, s) => t + s[what][k], 0)]));
    const encryption = { name: "encryption", parts: core, seconds: sum("seconds"), millijoules: sum("millijoules") };
    const at = cost.stages.indexOf(core[0]);
    const rows = [...cost.stages.slice(0, at), encryption, ...cost.stages.slice(at).filter((s) => !core.includes(s))];
    const most = Math.max(...rows.map((s) => s.seconds.mid));
    $("#stages tbody").replaceChildren(...rows.flatMap((s) => this.stage(s, most)));
    $("#sources").replaceChildren(
      ...cost.used.map((u) => make("li", { textContent: `${u.name}: ${u.mid} ${u.unit} (${u.low} to ${u.high}), ${u.kind}: ${u.source}` })),
    );
  }

  /** A stage's row; the encryption's opens into its parts, their bars to a scale of their own. */
  stage(s, most) {
    const bar = make("i", { className: NET.has(s.name) ? "net" : "" });
    bar.style.width = `${(100 * s.seconds.mid) / most}%`;
    const name = s.parts ? make("button", { type: "button", textContent: s.name }) : s.name;
    const row = make(
      "tr", { title: `${span(s.seconds, seconds)}, ${span(s.millijoules, joules)}` },
      make("td", {}, name), make("td", {}, make("div", { className: "bar" }, bar)),
      make("td", { className: "num", textContent: seconds(s.seconds.mid) }), make("td", { className: "num", textContent: joules(s.millijoules.mid) }),
    );
    if (!s.parts) return [row];
    const parts = s.parts.flatMap((part) => this.stage(part, Math.max(...s.parts.map((p) => p.seconds.mid))));
    const open = (on) => {
      name.setAttribute("aria-expanded", (this.open = on));
      for (const part of parts) part.hidden = !on;
    };
    for (const part of parts) part.classList.add("part");
    name.addEventListener("click", () => open(!this.open));
    open(this.open ?? false);
    return [row, ...parts];
  }

  modes(costs, chosen) {
    $("#modes tbody").replaceChildren(
      ...[...costs].map(([mode, cost]) => {
        const computing = cost.stages.filter((s) => !NET.has(s.name) && !BEFORE.has(s.name)).reduce((t, s) => t + s.seconds.mid, 0);
        return make(
          "tr", { className: mode === chosen ? "chosen" : "" },
          make("td", { textContent: mode }), make("td", { className: "num", textContent: seconds(computing) }),
          make("td", { className: "num", textContent: joules(cost.millijoules.mid) }),
          make("td", { className: "num", textContent: cost.bytes ? bytesText(cost.bytes.total.mid) : "" }),
        );
      }),
    );
  }
}
