"""Topics: what is built parses back, what is foreign is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindsight.wire import WireError, topics

DEVICES = st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True).filter(lambda d: d != "fleet")


@given(DEVICES, st.binary(min_size=16, max_size=16), st.integers(0, 65534))
def test_round_trip(device: str, image: bytes, number: int) -> None:
    assert topics.parse(topics.block(device, image, number)) == topics.Block(device, image, number)
    assert topics.parse(topics.manifest(device, image)) == topics.ManifestTopic(device, image)
    assert topics.parse(topics.status(device)) == topics.Status(device)
    assert topics.down(device, image) == f"{topics.base(device)}/down/{image.hex()}"


GOOD = topics.block("cam-01", bytes(16), 0)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "bs1",
        "bs2" + GOOD[3:],
        GOOD + "/x",
        GOOD[:-1] + "00",
        GOOD[:-1] + "-1",
        GOOD[:-1] + "65535",
        GOOD[:-1] + "٣",
        GOOD.replace("cam-01", "cam-02"),
        GOOD.replace("cam-01", "CAM"),
        GOOD.replace("/up/", "/down/"),
        GOOD.replace("00000000", "0000000g"),
        GOOD.replace("0" * 32, "0" * 31),
        "$SYS/broker/uptime",
    ],
)
def test_foreign_topics(topic: str) -> None:
    with pytest.raises(WireError):
        topics.parse(topic)


def test_subscriptions() -> None:
    assert topics.subscriptions() == ["bs1/+/+/up/+/+", "bs1/+/+/status"]
    assert topics.subscriptions("30") == [
        "bs1/0/+/up/+/+",
        "bs1/0/+/status",
        "bs1/3/+/up/+/+",
        "bs1/3/+/status",
    ]
    with pytest.raises(WireError, match="shards"):
        topics.subscriptions("g")
