"""Write the README's tables from bench/results and hw/measured: `python -m bench.readme` (after `make bench`)."""

import csv
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS, MEASURED, README = ROOT / "bench/results", ROOT / "hw/measured", ROOT / "README.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
BOARDS = {
    "cortex-m4": "Cortex-M4",
    "rv32imc": "RV32IMC (ESP32-C3)",
    "xtensa": "Xtensa lx106",
    "aarch64": "AArch64",
}


def rows(name: str) -> list[dict[str, str]]:
    with open(RESULTS / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def table(header: list[str], body: list[list[str]]) -> list[str]:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return ["| " + " | ".join(line) + " |" for line in lines]


def inference() -> list[str]:
    """Per model, loopback; then those of the WAN."""
    body = []
    far = [r for r in rows("links") if r["link"] == "wan"]
    for r in rows("infer") + far:
        ms = [f"{1e3 * float(r[k]):,.0f} ms" for k in ("online_s", "offline_s")]
        mb = [f"{float(r[k]) / 1e6:.2f} MB" for k in ("online_bytes", "offline_bytes")]
        body.append([f"{r['model']}, {r['link']}", f"{float(r['agreement']):.1%}", *ms, *mb])
    return table(
        ["model, link", "labels as the float net's", "online", "offline", "online bytes", "offline bytes"],
        body,
    )


def boards() -> list[str]:
    body = []
    for target, label in BOARDS.items():
        found = json.loads((MEASURED / f"{target}.json").read_text())
        counts = [f"{found['modes'][m]['instructions'] / 1e6:.2f} M" for m in ("rlwe", "rlwe-sk", "aes")]
        ram = f"{max(m['ram_bytes'] for m in found['modes'].values()) / 1024:.1f} KiB"
        body.append([label, *counts, ram, f"{found['code_bytes'] / 1024:.1f} KiB"])
    return table(
        ["instructions for 1,024 pixels", "rlwe", "rlwe-sk", "aes", "RAM, stack included", "code"], body
    )


def figures() -> str:
    """The Markdown between the markers."""
    about = rows("infer")[0]
    relu = rows("relu")[0]
    return "\n".join(
        [
            BEGIN,
            "",
            f"Both servers on one machine of two cores ({about['machine']}), a picture; {about['date']},",
            f"commit {about['commit']}, `make bench`. `wan`: 100 Mbit/s, 40 ms. Offline work needs no picture and runs in",
            "the background.",
            "",
            *inference(),
            "",
            f"ReLU of 16 bits: {float(relu['online_bytes']):.1f} bytes online, {float(relu['total_us']):.2f} microseconds",
            "in all, both parties (`python -m bench.relu`). On the board, exact counts under QEMU",
            "(`python -m blindsight.hw.qemu`):",
            "",
            *boards(),
            "",
            END,
        ]
    )


def main() -> None:
    text = README.read_text()
    start = text.index(BEGIN)
    stop = text.index(END) + len(END) if END in text else start + len(BEGIN)
    README.write_text(text[:start] + figures() + text[stop:])


if __name__ == "__main__":
    main()
