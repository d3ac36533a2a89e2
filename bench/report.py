"""Write the README's figures and docs/benchmarks.md from bench/results, hw/measured and bench/peers.csv:

    python -m bench.report           (after `make bench`)

Nothing is typed in by hand: `tests/unit/test_reported.py` fails where a page and the results differ.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS, MEASURED = ROOT / "bench/results", ROOT / "hw/measured"
README, PAGE = ROOT / "README.md", ROOT / "docs/benchmarks.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
BOARDS = {
    "cortex-m4": "Cortex-M4",
    "cortex-m7": "Cortex-M7",
    "rv32imc": "RV32IMC (ESP32-C3)",
    "xtensa": "Xtensa lx106",
    "aarch64": "AArch64",
    "armv7": "ARMv7-A",
}
Row = dict[str, str]


def rows(name: str) -> list[Row]:
    """The rows of bench/results/NAME.csv, all values text."""
    with open(RESULTS / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def measured(name: str) -> bool:
    """Whether there is such a table."""
    return (RESULTS / f"{name}.csv").exists()


def markdown(header: list[str], body: list[list[str]], text: int = 1) -> list[str]:
    """A Markdown table whose first `text` columns are text and the others numbers."""
    marks = ["---"] * text + ["---:"] * (len(header) - text)
    return ["| " + " | ".join(line) + " |" for line in [header, marks, *body]]


def number(scale: float = 1.0, digits: int = 1, unit: str = "") -> Callable[[str], str]:
    return lambda value: f"{scale * float(value):,.{digits}f}{unit}" if value else ""


MS, MB, WHOLE, PERCENT = number(1e3, 0, " ms"), number(1e-6, 2, " MB"), number(1, 0), number(100, 1, " %")


@dataclass(frozen=True)
class Section:
    """One table of the page: columns are (header, key of the CSV, format)."""

    name: str
    title: str
    about: str
    columns: tuple[tuple[str, str, Callable[[str], str]], ...]
    text: int = 1
    plot: str = ""


SECTIONS = (
    Section(
        "infer",
        "A picture, by model",
        "Both servers on this machine, over loopback. *Online* runs when the picture is there; *offline* is material made "
        "beforehand in the background. *In the clear* is PyTorch on the same pictures in the same run.",
        (
            ("model", "model", str),
            ("labels as the float net's", "agreement", PERCENT),
            ("online", "online_s", MS),
            ("offline", "offline_s", MS),
            ("online bytes", "online_bytes", MB),
            ("offline bytes", "offline_bytes", MB),
            ("rounds", "rounds", WHOLE),
            ("memory, cloud", "peak_rss_bytes.cloud", number(1e-6, 0, " MB")),
            ("memory, helper", "peak_rss_bytes.helper", number(1e-6, 0, " MB")),
            ("in the clear", "float_s", number(1e3, 1, " ms")),
        ),
    ),
    Section(
        "links",
        "Near and far",
        "`wan` is 100 Mbit/s with 40 ms a round trip, shaped in the channel.",
        (
            ("model", "model", str),
            ("link", "link", str),
            ("online", "online_s", MS),
            ("offline", "offline_s", MS),
            ("online bytes", "online_bytes", MB),
            ("offline bytes", "offline_bytes", MB),
            ("rounds", "rounds", WHOLE),
        ),
        text=2,
    ),
    Section(
        "scaling",
        "With pictures, pixels and threads",
        "Seconds and bytes of all pictures together (first rows), of one picture of VGG-16 with seeded weights (others). "
        "Straight lines are proportion.",
        (
            ("what", "what", str),
            ("how many", "x", WHOLE),
            ("online", "online_s", number(1, 2, " s")),
            ("offline", "offline_s", number(1, 2, " s")),
            ("online bytes", "online_bytes", MB),
            ("offline bytes", "offline_bytes", MB),
        ),
        plot="scaling.svg",
    ),
    Section(
        "protocols",
        "Protocols",
        "Two processes, loopback; an element is one output (a picture's, for those over ten or a thousand logits).",
        (
            ("protocol", "protocol", str),
            ("online", "online_us", number(1, 2, " us")),
            ("offline", "offline_us", number(1, 2, " us")),
            ("online bytes", "online_bytes", number()),
            ("offline bytes", "offline_bytes", number()),
            ("rounds", "rounds", WHOLE),
            ("random OTs", "random_ots", number()),
        ),
    ),
    Section(
        "ot",
        "Oblivious transfer",
        "Millions a second, by the clock and by the busier party's processor time.",
        (
            ("what", "row", str),
            ("random OTs, M/s, clock", "wall_m_ots_per_s", number()),
            ("a core", "core_m_ots_per_s", number()),
            ("bytes a random OT", "bytes_per_ot", number(1, 3)),
        ),
    ),
    Section(
        "ntt",
        "Lattice kernels",
        "The fastest kernels of this machine beside the portable ones, same run.",
        (
            ("kernel", "op", str),
            ("N", "n", str),
            ("q", "q", str),
            ("time", "time", number(1, 3)),
            ("unit", "unit", str),
            ("portable", "portable", number(1, 3)),
            ("ratio", "ratio", number()),
        ),
        text=3,
    ),
    Section(
        "linear",
        "Linear layers of VGG-16 at 32 x 32",
        "Online integer convolution; offline lattice work and bytes, a picture in a batch of 16.",
        (
            ("layer", "layer", str),
            ("M multiplications", "mmac", number(1, 1)),
            ("online", "native_ms", number(1, 2, " ms")),
            ("G/s", "native_gmac_s", number(1, 1)),
            ("cloud", "cloud_cpu_ms", number(1, 1, " ms")),
            ("helper", "helper_cpu_ms", number(1, 1, " ms")),
            ("up", "up_kb", number(1, 0, " kB")),
            ("down", "down_kb", number(1, 0, " kB")),
        ),
    ),
    Section(
        "layers",
        "Layers",
        "Online, over loopback, of every operation of every model.",
        (
            ("model", "model", str),
            ("layer", "layer", str),
            ("operation", "op", str),
            ("output", "shape", str),
            ("time", "online_ms", number(1, 2, " ms")),
            ("bytes", "online_bytes", WHOLE),
            ("rounds", "rounds", WHOLE),
        ),
        text=4,
    ),
)


def table(section: Section) -> list[str]:
    body = [[form(row.get(key, "")) for _, key, form in section.columns] for row in rows(section.name)]
    return markdown([header for header, _, _ in section.columns], body, section.text)


def boards() -> list[str]:
    """Instructions and memory of the C core, as counted under QEMU."""
    body = []
    for target, label in BOARDS.items():
        if not (MEASURED / f"{target}.json").exists():
            continue
        found = json.loads((MEASURED / f"{target}.json").read_text())
        counts = [f"{found['modes'][m]['instructions'] / 1e6:.2f} M" for m in ("rlwe", "rlwe-sk", "aes")]
        ram = f"{max(m['ram_bytes'] for m in found['modes'].values()) / 1024:.1f} KiB"
        body.append([label, *counts, ram, f"{found['code_bytes'] / 1024:.1f} KiB"])
    return markdown(
        ["instructions for 1,024 pixels", "rlwe", "rlwe-sk", "aes", "RAM, stack included", "code"], body
    )


def peers() -> list[str]:
    with open(ROOT / "bench/peers.csv", newline="") as file:
        found = list(csv.DictReader(file))
    keys = ("task", "system", "setting", "time", "traffic", "memory", "source")
    return markdown(list(keys), [[row[k] for k in keys] for row in found], len(keys))


def about(name: str) -> str:
    """What the table's figures depend on."""
    row = rows(name)[0]
    load = f", load {row['load']}" if "load" in row else ""
    return f"`python -m bench.{name}`, {row['date']}, commit {row['commit']}, {row['machine']}{load}."


def figures() -> str:
    """The README's part, markers included."""
    infer = rows("infer")
    links = {r["model"]: r for r in rows("links") if r["link"] == "wan"} if measured("links") else {}
    body = []
    for r in infer:
        wan = MS(links[r["model"]]["online_s"]) if r["model"] in links else ""
        cells = [MS(r["online_s"]), wan, MS(r["offline_s"]), MB(r["online_bytes"]), MB(r["offline_bytes"])]
        body.append([r["model"], PERCENT(r["agreement"]), *cells, number(1e3, 1, " ms")(r["float_s"])])
    header = ["model", "labels as the float net's", "online", "online, wan", "offline"]
    relu = rows("relu")[0]
    lines = [
        BEGIN,
        "",
        f"Both servers on one machine of two cores ({infer[0]['machine']}), a picture; {infer[0]['date']}, commit "
        f"{infer[0]['commit']}, load {infer[0]['load']},",
        "`make bench` (`vgg16-224`, random weights: `python -m bench.infer --large`). *wan*: 100 Mbit/s, 40 ms.",
        "Offline work needs no picture and runs in the background.",
        "",
        *markdown([*header, "online bytes", "offline bytes", "PyTorch in the clear"], body),
        "",
        f"ReLU of 16 bits: {float(relu['online_bytes']):.1f} bytes online, {float(relu['total_us']):.2f} microseconds in all, "
        "both parties (`python -m bench.relu`).",
        "On the board, exact counts under QEMU (`python -m blindsight.hw.qemu`):",
        "",
        *boards(),
        "",
        "Every table, with layers, protocols, scaling and what peers publish: [benchmarks](docs/benchmarks.md).",
        "",
        END,
    ]
    return "\n".join(lines)


def page() -> str:
    """docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `python -m bench.report` from the files in `bench/results`, which `make bench` measures anew.",
        "The machine has two cores, which cloud and helper share with everything else: compare within a table.",
        "",
    ]
    for section in filter(lambda s: measured(s.name), SECTIONS):
        lines += [f"## {section.title}", "", section.about, "", *table(section), ""]
        if section.plot:
            lines += [f"![{section.title}](plots/{section.plot})", ""]
        lines += [about(section.name), ""]
    if missing := [s.name for s in SECTIONS if not measured(s.name)]:
        lines += [f"Not measured yet on this machine: {', '.join(missing)} (`python -m bench NAME`).", ""]
    lines += [
        "## On the board",
        "",
        "The C core, instructions counted exactly under QEMU (`python -m blindsight.hw.qemu`).",
        "",
        *boards(),
        "",
        "## What peers publish",
        "",
        "Other machines, other configurations: for orientation. Figures of ours are above.",
        "",
        *peers(),
        "",
    ]
    return "\n".join(lines)


def readme(text: str) -> str:
    """The README with its figures replaced."""
    return text[: text.index(BEGIN)] + figures() + text[text.index(END) + len(END) :]


def main() -> None:
    for section in SECTIONS:
        if section.plot and measured(section.name):
            target = PAGE.parent / "plots" / section.plot
            target.parent.mkdir(exist_ok=True)
            target.write_bytes((RESULTS / section.plot).read_bytes())
    PAGE.write_text(page())
    README.write_text(readme(README.read_text()))


if __name__ == "__main__":
    main()
