"""Cloud and helper a continent apart: the same picture over modelled lines between the two servers."""

import blindsight

LINES = {
    "this machine": None,
    "100 Mbit/s, 40 ms": blindsight.WAN,
    "20 Mbit/s, 120 ms": blindsight.Link(bits_per_s=20e6, rtt_s=0.120),
}


def main() -> None:
    pictures, _ = blindsight.sample_pictures("mnist", 2)
    for name, line in LINES.items():
        with blindsight.LocalPair("mnist", link=line) as pair:
            pair.prepare(2)  # needs no picture: it happens while nobody waits
            results = pair.classify_many(pictures)
        online = sum(r.seconds for r in results) / len(results)
        print(
            f"{name}: {', '.join(r.label for r in results)}; {online:.2f} s a picture, {results[0].rounds} rounds"
        )


if __name__ == "__main__":
    main()
