"""Classify pictures with both servers on this machine: python examples/classify.py [PICTURE.png]"""

import sys

import blindsight


def main() -> None:
    if len(sys.argv) > 1:  # a picture of any size, cut and reduced to what the network takes
        pictures, classes = [blindsight.load_picture(sys.argv[1], "cifar")], None
    else:
        pictures, classes = blindsight.sample_pictures("cifar", 3)
    with blindsight.LocalPair("cifar", batch=3) as pair:
        print(f"cloud and helper are up after {pair.setup_seconds:.2f} s")
        for i, picture in enumerate(pictures):
            result = pair.classify(picture)
            truth = "" if classes is None else f" (in truth {pair.labels[classes[i]]})"
            print(
                f"{result.label}{truth}: {1e3 * result.seconds:.0f} ms, {result.bytes:,} bytes, {result.rounds} rounds"
            )
        slowest = max(result.layers, key=lambda layer: layer.seconds)
        print(f"slowest layer: {slowest.name} ({slowest.kind}), {1e3 * slowest.seconds:.1f} ms")


if __name__ == "__main__":
    main()
