"""End to end, per model: both servers on this machine, over loopback, beside plaintext PyTorch in the same run.

    python -m bench.infer [--large] [--quick] [--json]

Seconds and bytes are a picture's; `float_s` is the plaintext floor. `--large` adds `vgg16-224`, one picture (a minute, and
half a minute more the first time, to make its weights).
"""

from bench.table import Row, finish, infer, options
from blindsight.models import zoo

COUNT = {"vgg16": 32}
KEYS = ("top1", "layers", "result")


def models() -> list[str]:
    """The zoo's models, the smallest first."""
    return sorted(zoo.names(), key=lambda name: zoo.path(name).stat().st_size)


def measure(quick: bool, large: bool = False) -> list[Row]:
    rows = [infer(name, "--count", "2" if quick else str(COUNT.get(name, 64))) for name in models()]
    if large:
        rows.append(infer("vgg16-224", "--count", "1"))
    return [{k: v for k, v in row.items() if k not in KEYS} for row in rows]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--large", action="store_true", help="vgg16-224 too")
    args = parser.parse_args()
    finish("infer", measure(args.quick, args.large), args.quick, args.json)


if __name__ == "__main__":
    main()
