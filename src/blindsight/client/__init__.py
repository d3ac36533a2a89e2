"""Send a picture from any computer and await its answer: `Client`. See docs/integrations.md."""

from blindsight.client.answer import Answer
from blindsight.client.client import Client
from blindsight.client.errors import ClientError, NoAnswer, Refused
from blindsight.client.identity import Broker, Identity

__all__ = ["Answer", "Broker", "Client", "ClientError", "Identity", "NoAnswer", "Refused"]
