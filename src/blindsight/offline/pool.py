"""Two parties' stores kept in step: agree at connection, make batches into both, take the same slot on both sides.

Adversary and guarantees: `store`. Agreement here only ever burns more: the cursor goes to the higher of the two, and a batch that one side
lacks (a crash between the two appends, a purge, a restored backup) is destroyed on the other.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blindsight.channel import Channel
from blindsight.nn.network import Network
from blindsight.offline.make import LinearSide, Source, layout, make_batch
from blindsight.offline.slot import Slot
from blindsight.offline.store import Store
from blindsight.ot.correlations import Draw

_MAX_INDEX = 1 << 53


class Pool:
    """This party's material of one plan and ingest kind.

    Args:
        path: folder of the store; one process at a time.
        network: the executor the slots are for.
        party: 0 cloud, 1 helper.
        ingest: correlations of the ingest mode, drawn before the network's.
    """

    def __init__(self, path: Path, network: Network, party: int, ingest: Sequence[Draw] = ()) -> None:
        self._network, self._ingest, self._party = network, tuple(ingest), party
        self._layout = layout(network, party, ingest)
        self.store = Store(path, self._layout.nbytes)

    def synchronise(self, channel: Channel) -> None:
        """Bring both stores to the higher cursor and to the batches both hold. First thing on every new connection."""
        channel.send_control(
            {
                "op": "pool",
                "cursor": self.store.cursor,
                "batches": [[b.id, b.first, b.count] for b in self.store.batches],
            }
        )
        cursor, batches = _checked(channel, channel.recv_control())
        self.store.jump(cursor)
        self.store.keep_common(batches)

    def produce(self, channel: Channel, linear: LinearSide, source: Source, batch: int) -> None:
        """Make a batch with the peer, which calls this too, and store it durably.

        The cloud names the batch and its first index; both skip indices that either side ever knew.
        """
        if self._party == 0:
            channel.send_control({"op": "batch", "id": os.urandom(16).hex(), "first": self.store.end})
            reply = channel.recv_control()
            first, batch_id = _number(channel, reply, "first"), _identity(channel, reply)
        else:
            request = channel.recv_control()
            first, batch_id = (
                max(self.store.end, _number(channel, request, "first")),
                _identity(channel, request),
            )
            channel.send_control({"op": "batch", "id": batch_id, "first": first})
        if first < self.store.end:
            channel.fail(f"slot {first} was proposed, indices below {self.store.end} are taken")
        slots = make_batch(channel, self._network, linear, source, batch, first, self._ingest)
        self.store.append(batch_id, first, [self._layout.pack(slot) for slot in slots])

    def next_index(self) -> int | None:
        """The lowest slot not burnt yet, None when there is none. The cloud proposes it, the helper takes what it is told."""
        cursor = self.store.cursor
        return min((max(b.first, cursor) for b in self.store.batches), default=None)

    def take(self, index: int) -> Slot:
        """Burn everything up to `index` durably, then read the slot. StoreError when it was burnt before or is not there."""
        return self._layout.unpack(self.store.reserve(index), index)

    def close(self) -> None:
        self.store.close()


def _checked(channel: Channel, message: dict[str, Any]) -> tuple[int, list[tuple[str, int, int]]]:
    batches = message.get("batches")
    if message.get("op") != "pool" or not isinstance(batches, list) or not all(map(_is_batch, batches)):
        channel.fail("the message about the material is malformed")
    return _number(channel, message, "cursor"), [(b[0], b[1], b[2]) for b in batches]


def _is_batch(item: Any) -> bool:
    return (
        isinstance(item, list)
        and len(item) == 3
        and isinstance(item[0], str)
        and all(map(_is_index, item[1:]))
    )


def _is_index(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MAX_INDEX


def _number(channel: Channel, message: dict[str, Any], name: str) -> int:
    if not _is_index(message.get(name)):
        channel.fail(f"the field {name!r} of a message about material is not an index")
    return message[name]


def _identity(channel: Channel, message: dict[str, Any]) -> str:
    value = message.get("id")
    if message.get("op") != "batch" or not isinstance(value, str) or not re.fullmatch("[0-9a-f]{32}", value):
        channel.fail("the name of a batch of material is malformed")
    return value
