"""`blindsight material make|list|purge` with a real helper process."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from leash import running

from blindsight.app.children import free_port

BLINDSIGHT = [sys.executable, "-m", "blindsight.app.cli"]


def run(*args, check=True) -> subprocess.CompletedProcess:
    done = subprocess.run([*BLINDSIGHT, *map(str, args)], capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, done.stderr
    return done


def test_make_list_purge(tmp_path):
    site, port = tmp_path / "site", free_port()
    run("keys", "init", site, "--model", "mnist", "--link-port", port)
    nobody = run("material", "make", "--config", site / "cloud.toml", check=False)
    assert nobody.returncode == 1 and "is the other server up" in nobody.stderr

    serve = [*BLINDSIGHT, "helper", "--config", str(site / "helper.toml")]
    with running(serve, stderr=subprocess.DEVNULL) as helper:
        deadline = time.monotonic() + 60
        while True:
            made = run(
                "material", "make", "--config", site / "cloud.toml", "--slots", 20, "--json", check=False
            )
            if made.returncode == 0 or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        assert json.loads(made.stdout)["material"] == {"w0": {"mnist": 20}}, made.stderr
        helper.send_signal(signal.SIGTERM)
        assert helper.wait(60) == 0

    for folder in (site / "cloud" / "material", site / "helper" / "material"):
        (pool,) = json.loads(run("material", "list", folder, "--json").stdout)["pools"]
        assert pool["left"] == 20 and pool["cursor"] == 0 and pool["bytes"] > 20 * 1000
        assert json.loads(run("material", "purge", folder, "--json").stdout)["purged"] == {pool["pool"]: 20}
        (pool,) = json.loads(run("material", "list", folder, "--json").stdout)["pools"]
        assert pool["left"] == 0 and pool["cursor"] == 20
        assert not list(folder.rglob("*.key")) and not list(folder.rglob("*.bin"))
    gone = run("material", "list", tmp_path / "nowhere", check=False)
    assert gone.returncode == 1 and "no such folder" in gone.stderr
