# MicroPython: no contextlib, no zip(strict)
# mypy: ignore-errors
# ruff: noqa: SIM105, UP031
"""main.py of a board with two application slots, /a and /b, and perhaps /rom: runs the one in use, tries a new one,
goes back.

/app.json: {"active": "a", "version", "counter", "trial": {"slot", "version", "counter", "tries"} or absent}; "active" is
"b" or "rom" as well, or "none" while the only version is being replaced. A version on trial becomes the active one when
the cloud has accepted or answered a picture of it (event `receipt` or `result`). It is given up when it ends without
that, or at its fourth start: the version before runs again.
"""

import json
import os
import sys

STATE = "/app.json"
TRIES = 3


def load() -> dict:
    for path in (STATE, STATE + ".part"):  # FAT removes the old file before it renames
        try:
            with open(path) as f:
                return json.load(f)
        except (OSError, ValueError):
            pass
    return {"active": "a"}


def save(state: dict) -> None:
    with open(STATE + ".part", "w") as f:
        json.dump(state, f)
    try:
        os.remove(STATE)
    except OSError:
        pass
    os.rename(STATE + ".part", STATE)


def tell(kind: str, **fields: object) -> None:
    fields["event"] = kind
    print(json.dumps(fields))


def watch(state: dict) -> None:
    """Have the application's own event log make the trial good."""
    from bsdev import clock

    log = clock.event

    def event(kind: str, **fields: object) -> None:
        log(kind, **fields)
        trial = state.get("trial")
        if trial and kind in ("receipt", "result"):
            good = {"active": trial["slot"], "version": trial["version"], "counter": trial["counter"]}
            save(good)
            state.clear()
            state.update(good)
            log("healthy", version=good["version"])

    clock.event = event


def forget(slot: str) -> None:
    """Drop the modules of a slot that ended."""
    for name in list(sys.modules):
        if name == "bsmain" or name.split(".")[0] == "bsdev":
            del sys.modules[name]
    sys.path.remove("/" + slot)


def run(slot: str, state: dict) -> None:
    sys.path.insert(0, "/" + slot)
    if state.get("trial"):
        watch(state)
    import bsmain  # noqa: F401 - importing it runs it


def give_up(state: dict, why: str) -> None:
    failed = state.pop("trial")
    state["failed"] = failed["version"]
    save(state)
    tell("rollback", version=failed["version"], reason=why)


def main() -> None:
    state = load()
    trial = state.get("trial")
    if trial and trial["tries"] >= TRIES:
        give_up(state, "not healthy after %d starts" % TRIES)
        trial = None
    if trial:
        trial["tries"] += 1
        save(state)
        tell("trial", version=trial["version"], tries=trial["tries"])
        try:
            run(trial["slot"], state)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not state.get("trial"):
                raise
            give_up(state, repr(error))
        else:
            if not state.get("trial"):
                return
            give_up(state, "it ended")
        forget(trial["slot"])
    if state["active"] == "none":
        print("blindsight: no whole application on this board: run `blindsight hw deploy` again")
        return
    run(state["active"], state)


main()
