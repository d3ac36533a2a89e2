"""Pictures through real Mosquitto and both services as processes (with the insecure engine of
`service_kit`).
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Site]:
    with kit.site(tmp_path_factory.mktemp("site")) as (site, _broker):
        yield site


@pytest.mark.parametrize("mode", ["rlwe", "rlwe-sk", "aes"])
def test_pictures_are_answered(place: kit.Site, mode: str) -> None:
    device = place.device(f"cam-{mode}", mode)
    client = kit.Client(device.name, place.broker_port)
    try:
        for _ in range(3):
            parcel = device.picture()
            client.send(parcel)
            answer = client.wait(parcel)
            assert answer is not None and parcel.open(answer) == kit.label_of(parcel.pixels)
    finally:
        client.close()
