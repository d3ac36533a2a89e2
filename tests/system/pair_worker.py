"""One server with its material on disk, for the kill tests: redoes every picture until both sides have its share.

Usage: pair_worker.py PARTY FOLDER MODEL_OR_PLAN. FOLDER holds `pixels-<party>.npy` (xor shares of the pixel bytes); the worker keeps its
pool, a log of the slots (written after the burn, before the first byte that depends on the slot), its result shares and the port there.
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
from blindsight.service.engine import Engine, Program
from blindsight.wire import jobs
from blindsight.wire.blocks import Mode

KIND, VERSION = "xor", bytes(32)
party, folder, path = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
pixels = np.load(folder / f"pixels-{party}.npy")
log = open(folder / f"log-{party}", "ab", buffering=0)  # noqa: SIM115
if party == 0:
    from blindsight.nn.linear import CloudSide

    model = Model.load(path)
    program = Program("m", VERSION, Network(model.plan, model.ints), CloudSide(model.plan, model.ints))
else:
    from blindsight.helper.linear import helper_side

    plan = load_plan(path)
    program = Program("m", VERSION, Network(plan), helper_side(plan))
    listener = tcp_listen(1, timeout=10)
    port_file = folder / "port"
    port_file.with_suffix(".new").write_text(str(listener.address[1]))
    os.replace(port_file.with_suffix(".new"), port_file)


def logged(engine: Engine) -> Engine:
    """Writes every slot to the log between its burn and its use."""
    store = engine._store(program, KIND)
    reserve = store.reserve

    def reserve_and_log(index: int) -> bytes:
        data = reserve(index)
        log.write(b"%d\n" % index)
        return data

    store.reserve = reserve_and_log  # type: ignore[method-assign]
    return engine


def attempt(engine: Engine, picture: int, slot: int) -> None:
    share = engine.run(program, Mode.AES, slot, pixels[picture])
    file = folder / f"share-{party}-{picture}.json"
    file.with_suffix(".new").write_text(json.dumps({"slot": slot, "share": share.tolist()}))
    os.replace(file.with_suffix(".new"), file)


def serve_cloud(channel, engine: Engine) -> None:
    channel.send_control(engine.pool(program, KIND).to_json())
    engine.merge(program, jobs.Pool.from_json(channel.recv_control()))
    for picture in range(len(pixels)):
        done = folder / f"done-{picture}"
        if done.exists():
            continue
        if engine.left(program, KIND) == 0:
            ids = (program.name, program.plan.hash, VERSION, KIND)
            request = jobs.MakeMaterial(*ids, os.urandom(jobs.BATCH_ID_BYTES), engine.end(program, KIND), 3)
            channel.send_control(request.to_json())
            engine.make(program, request)
        slot = engine.next(program, KIND)
        channel.send_control({"op": "run", "picture": picture, "slot": slot})
        attempt(engine, picture, slot)
        if channel.recv_control() != {"op": "done"}:
            raise SystemExit("the helper did not finish")
        done.touch()
    channel.send_control({"op": "end"})


def serve_helper(channel, engine: Engine) -> None:
    peer = jobs.Pool.from_json(channel.recv_control())
    channel.send_control(engine.pool(program, KIND).to_json())
    engine.merge(program, peer)
    while (request := channel.recv_control())["op"] != "end":
        if request["op"] == "run":
            attempt(engine, request["picture"], request["slot"])
            channel.send_control({"op": "done"})
        else:
            engine.make(program, jobs.MakeMaterial.from_json(request))


while True:
    engine = None
    try:
        if party == 1:
            channel = listener.accept(wait=60)
        else:
            port = int((folder / "port").read_text()) if (folder / "port").exists() else 1
            channel = tcp_connect(0, "127.0.0.1", port, timeout=10)
        engine = logged(Engine(channel, folder / f"pool-{party}"))
        (serve_helper if party else serve_cloud)(channel, engine)
        channel.close()
        break
    except ChannelError:
        time.sleep(0.05)
    finally:
        if engine:
            engine.close()
