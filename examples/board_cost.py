"""What a picture costs each board, by the cost model: python examples/board_cost.py [rlwe|rlwe-sk|aes]"""

import sys
from typing import Literal, cast

import blindsight


def main() -> None:
    ingest = cast(Literal["rlwe", "rlwe-sk", "aes"], sys.argv[1] if len(sys.argv) > 1 else "rlwe")
    print(f"{'board':<18}{'awake':>10}{'energy':>12}{'on the air':>13}{'2,000 mAh last':>22}")
    for name in blindsight.board_names():
        cost = blindsight.estimate_cost(
            name, model="cifar", ingest=ingest, pictures_per_day=40, battery_mah=2000
        )
        air = cost.to_json()["bytes"]
        sent = f"{air['total']['mid']:,.0f} B" if air else "no radio"
        days = cost.battery_days
        linux = blindsight.load_board(name).install == "linux"
        lasts = "on mains" if linux or days is None else f"{days.low:,.0f} to {days.high:,.0f} days"
        print(f"{name:<18}{cost.seconds.mid:>8.2f} s{cost.millijoules.mid:>9.0f} mJ{sent:>13}{lasts:>22}")
    asleep = blindsight.load_profile("esp32-s3")["power.deep_sleep"]
    print(f"ESP32-S3 in deep sleep: {asleep.value:g} {asleep.unit} ({asleep.label}: {asleep.source})")


if __name__ == "__main__":
    main()
