"""The network is cut in place of each single message of a picture's way: CONNECT, SUBSCRIBE, PUBLISH, PUBACK on both
sides of the broker, and every frame between the servers. Each picture is answered, once; no slot is used twice.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from proxy import Proxy, link_frame, mqtt_packet

NETS = ("device-broker", "cloud-broker", "cloud-helper")
STEPS = {"device-broker": 16, "cloud-broker": 16, "cloud-helper": 24}


class Stage:
    """A site with the fake engine and a proxy on each network."""

    def __init__(self, folder: Path) -> None:
        port = kit.free_port()
        self.broker = kit.mosquitto(folder / "broker", port)
        self.place = kit.Site(folder, port)
        self.nets = {
            "device-broker": Proxy(port, mqtt_packet),
            "cloud-broker": Proxy(port, mqtt_packet),
            "cloud-helper": Proxy(self.place.link_port, link_frame),
        }
        toml = folder / "cloud.toml"
        text = toml.read_text().replace(f"port = {port}\n", f"port = {self.nets['cloud-broker'].port}\n")
        link = f"port = {self.nets['cloud-helper'].port}\n"
        toml.write_text(text.replace(f"port = {self.place.link_port}\n", link))
        self.place.start()
        self.place.cloud.until("subscribed")
        self.device = self.place.device("cam")
        self.client = kit.Client("cam", self.nets["device-broker"].port)
        self.sent: list[kit.Parcel] = []

    def picture(self) -> None:
        """One picture, to its answer."""
        parcel = self.device.picture()
        self.sent.append(parcel)
        self.client.send(parcel)
        answer = self.client.wait(parcel, seconds=60, resend_s=1.5)
        assert answer is not None and parcel.open(answer) == kit.label_of(parcel.pixels)

    def stop(self) -> None:
        self.client.close()
        self.place.stop()
        self.broker.stop()
        for net in self.nets.values():
            net.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("steps"))
    yield made
    made.stop()


def cut_at(stage: Stage, name: str, steps: range) -> None:
    net = stage.nets[name]
    for step in steps:
        broken = net.broken
        net.count(step)
        stage.picture()
        for _ in range(step):  # a picture has fewer messages than that: the next ones have the rest
            if net.armed:
                stage.picture()
        assert not net.armed and net.broken > broken, f"nothing was cut at message {step} of {name}"
    for parcel in stage.sent:
        assert len(set(stage.client.answers[parcel.image])) == 1
    slots = kit.used_slots(stage.place.folder)
    assert len(slots) >= 2 * len(stage.sent), "each party takes a slot a picture, and writes it down"
    assert len(slots) == len(set(slots)), "a slot of material was used twice"


@pytest.mark.parametrize("net", NETS)
def test_cut_at_some_messages(stage: Stage, net: str) -> None:
    cut_at(stage, net, range(1, STEPS[net] + 1, 2))


@pytest.mark.long
@pytest.mark.parametrize("net", NETS)
def test_cut_at_every_message(stage: Stage, net: str) -> None:
    cut_at(stage, net, range(1, STEPS[net] + 1))
