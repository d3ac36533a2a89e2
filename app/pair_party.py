"""One server of a `LocalPair`, as a process that stays: `python -m blindsight.app.pair_party`.

Standard input: one line of JSON (`party.Task`), then requests, a line of JSON each: `{"make": n}` makes material for n inferences,
`{"run": bytes}` is followed by this party's share of one picture, uint32 little-endian. Standard output: a line of JSON an answer.
The end of standard input ends it. The cloud's process is given the model, the helper's only the public plan.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from typing import Any

import numpy as np

from blindsight.app.party import Meter, Spent, Task, connect, say, side
from blindsight.channel import ChannelError
from blindsight.nn.plan import PlanError
from blindsight.offline.make import make_batch
from blindsight.offline.slot import Slot, Tape
from blindsight.ot.generate import Generator


class Server:
    """This party, connected to the other."""

    def __init__(self, task: Task) -> None:
        self._network, self._linear, hello = side(task)
        self._channel = connect(task, hello)
        self._generator = Generator(self._channel, link=task.link)
        self._slots: deque[Slot] = deque()

    def make(self, count: int) -> dict[str, Any]:
        """Material for so many inferences, together with the peer."""
        spent = Spent(self._channel.stats)
        with spent:
            self._slots += make_batch(self._channel, self._network, self._linear, self._generator, count)
        return {"seconds": spent.seconds, "bytes": spent.bytes}

    def run(self, share: np.ndarray) -> dict[str, Any]:
        """One inference on this party's share of the pixels; consumes a slot."""
        slot = self._slots.popleft()
        meter, spent = Meter(self._channel.stats), Spent(self._channel.stats)
        with spent:
            result = self._network.run(self._channel, Tape(slot.draws), slot, share, meter)
        return {
            "share": result.tolist(), "seconds": spent.seconds, "bytes": spent.bytes, "rounds": spent.rounds,
            "layers": meter.layers,
        }  # fmt: skip

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()


def main() -> int:
    stdin = sys.stdin.buffer
    try:
        server = Server(Task(**json.loads(stdin.readline())))
        say(event="ready")
        while line := stdin.readline():
            request = json.loads(line)
            if "make" in request:
                say(event="made", **server.make(request["make"]))
            else:
                say(event="ran", **server.run(np.frombuffer(stdin.read(request["run"]), "<u4")))
        server.close()
    except (ChannelError, PlanError, ValueError, OSError) as error:
        say(event="error", message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
