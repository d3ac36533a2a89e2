"""The embedded broker of the demonstration: amqtt in a process of its own, on loopback, for tests and demos
alone.

It keeps nothing on disk and lets everybody in; a deployment runs Mosquitto or another broker with TLS and
ACLs (`blindsight broker config`).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys

CONFIG = {
    "timeout_disconnect_delay": 2,
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}


async def _serve(port: int) -> None:
    """Serves until SIGTERM or SIGINT."""
    try:
        from amqtt.broker import Broker
    except ImportError:
        sys.exit(
            "the embedded broker needs amqtt: pip install 'blindsight[demo]', or name one with --broker HOST:PORT"
        )
    broker = Broker({**CONFIG, "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}})
    await broker.start()
    done = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, done.set)
    await done.wait()
    await broker.shutdown()


def serve(port: int) -> None:
    """The broker on 127.0.0.1:`port`, in the foreground, until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("amqtt").setLevel(logging.ERROR)
    asyncio.run(_serve(port))


def main() -> None:
    """`python -m blindsight.app.embedded --port N`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    serve(parser.parse_args().port)


if __name__ == "__main__":
    main()
