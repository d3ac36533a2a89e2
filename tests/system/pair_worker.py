"""One server with a material pool on disk, for the kill tests: redoes every picture until both sides have its share.

Usage: pair_worker.py PARTY FOLDER MODEL_OR_PLAN. FOLDER holds `pixels-<party>.npy`; the worker keeps its pool, a log of
`picture slot` lines (written before the first byte that depends on the slot), its result shares and the port number there.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from blindsight.channel import ChannelError, tcp_connect, tcp_listen
from blindsight.nn.model import Model
from blindsight.nn.network import Network
from blindsight.nn.plan import load_plan
from blindsight.offline.pool import Pool
from blindsight.offline.slot import Tape
from blindsight.ot.generate import Generator

party, folder, path = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
pixels = np.load(folder / f"pixels-{party}.npy")
if party == 0:
    from blindsight.nn.linear import CloudSide

    model = Model.load(path)
    network, linear = Network(model.plan, model.ints), CloudSide(model.plan, model.ints)
else:
    from blindsight.helper.linear import helper_side

    plan = load_plan(path)
    network, linear = Network(plan), helper_side(plan)
    listener = tcp_listen(1, timeout=10)
    port_file = folder / "port"
    port_file.with_suffix(".new").write_text(str(listener.address[1]))
    os.replace(port_file.with_suffix(".new"), port_file)
pool = Pool(folder / f"pool-{party}", network, party)
log = open(folder / f"log-{party}", "ab", buffering=0)  # noqa: SIM115


def share_file(picture: int) -> Path:
    return folder / f"share-{party}-{picture}.json"


def attempt(channel, picture: int, slot_index: int) -> None:
    slot = pool.take(slot_index)
    log.write(b"%d %d\n" % (picture, slot_index))
    share = network.run(channel, Tape(slot.draws), slot, pixels[picture])
    temporary = share_file(picture).with_suffix(".new")
    temporary.write_text(json.dumps({"slot": slot_index, "share": share.tolist()}))
    os.replace(temporary, share_file(picture))


def serve_cloud(channel, source) -> None:
    for picture in range(len(pixels)):
        done = folder / f"done-{picture}"
        if done.exists():
            continue
        if pool.next_index() is None:
            channel.send_control({"op": "produce"})
            pool.produce(channel, linear, source, 3)
        index = pool.next_index()
        channel.send_control({"op": "infer", "picture": picture, "slot": index})
        attempt(channel, picture, index)
        if channel.recv_control() != {"op": "done"}:
            raise SystemExit("the helper did not finish")
        done.touch()
    channel.send_control({"op": "end"})


def serve_helper(channel, source) -> bool:
    while True:
        request = channel.recv_control()
        if request["op"] == "end":
            return True
        if request["op"] == "produce":
            pool.produce(channel, linear, source, 3)
        else:
            attempt(channel, request["picture"], request["slot"])
            channel.send_control({"op": "done"})


while True:
    try:
        if party == 1:
            channel = listener.accept(wait=60)
        else:
            port = int((folder / "port").read_text()) if (folder / "port").exists() else 1
            channel = tcp_connect(0, "127.0.0.1", port, timeout=10)
        pool.synchronise(channel)
        source = Generator(channel)
        if party == 0:
            serve_cloud(channel, source)
            channel.close()
            break
        if serve_helper(channel, source):
            channel.close()
            break
    except ChannelError:
        time.sleep(0.05)
