"""`blindsight demo --web`: starts the stage, serves the page, ends everything on Ctrl-C."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from blindsight.app.demo_report import Options
from blindsight.app.web_http import PageServer
from blindsight.app.web_stage import Progress, Stage
from blindsight.service import stop


@contextlib.contextmanager
def serving(options: Options, progress: Progress, port: int = 0) -> Iterator[PageServer]:
    """The page's server, answering, with everything behind it; all of it is gone afterwards."""
    with contextlib.ExitStack() as stack:
        if options.keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blindsight-demo-")))
        else:
            folder = options.keep
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        stage = Stage(options)
        stage.start(stack, folder, progress)
        server = stack.enter_context(PageServer(stage, port))
        thread = threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def until_stopped() -> None:
    """Waits for Ctrl-C or SIGTERM; a second one while things end is not needed and does no harm."""
    stopping = stop.on_signals()
    while not stopping.wait(0.5):
        pass
