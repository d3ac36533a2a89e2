// The cost model's answer for the picture just sent, on the board of the person's choice.

import { $, bytesText, joules, make, seconds, whole } from "./draw.js";

const NET = new Set(["join", "tls handshake", "tls records", "radio", "round trips", "answer"]);
const BEFORE = new Set(["wake", "capture"]);
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
    const most = Math.max(...cost.stages.map((s) => s.seconds.mid));
    $("#stages tbody").replaceChildren(
      ...cost.stages.map((s) => {
        const bar = make("i", { className: NET.has(s.name) ? "net" : "" });
        bar.style.width = `${(100 * s.seconds.mid) / most}%`;
        return make(
          "tr", { title: `${span(s.seconds, seconds)}, ${span(s.millijoules, joules)}` },
          make("td", { textContent: s.name }), make("td", {}, make("div", { className: "bar" }, bar)),
          make("td", { className: "num", textContent: seconds(s.seconds.mid) }), make("td", { className: "num", textContent: joules(s.millijoules.mid) }),
        );
      }),
    );
    $("#sources").replaceChildren(
      ...cost.used.map((u) => make("li", { textContent: `${u.name}: ${u.mid} ${u.unit} (${u.low} to ${u.high}), ${u.kind}: ${u.source}` })),
    );
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
