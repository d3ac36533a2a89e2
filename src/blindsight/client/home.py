"""What Home Assistant and Node-RED read on the owner's broker: discovery, state and result messages.

Discovery is Home Assistant's MQTT device discovery (its documentation, "MQTT device discovery"): one retained message
under `<prefix>/device/<id>/config` that lists every entity. The board's firmware writes its own (bsdev/home.py); a test
holds both against one schema.
"""

from __future__ import annotations

import datetime
from typing import Any

from blindsight.client.answer import Answer
from blindsight.client.identity import Identity
from blindsight.wire.keys import check_device


def base(device: str) -> str:
    """Everything of a device on the owner's broker."""
    return f"blindsight/{check_device(device)}"


def discovery_topic(device: str, prefix: str = "homeassistant") -> str:
    """Where the device is announced."""
    return f"{prefix}/device/blindsight-{check_device(device)}/config"


def discovery(who: Identity, version: str) -> dict[str, Any]:
    """The announcement of a bridge: result, last picture's latency, pictures that wait."""
    topic, name = base(who.device), f"blindsight-{who.device}"
    result: dict[str, Any] = {
        "platform": "sensor", "unique_id": f"{name}-result", "name": "Result", "icon": "mdi:eye-lock",
        "state_topic": f"{topic}/result", "value_template": "{{ value_json.label or value_json.index }}",
        "json_attributes_topic": f"{topic}/result",
    }  # fmt: skip
    if who.labels and len(set(who.labels)) == len(who.labels) <= 100:
        result |= {"device_class": "enum", "options": list(who.labels)}
    return {
        "device": {
            "identifiers": [name], "name": f"Blindsight {who.device}", "manufacturer": "Blindsight",
            "model": who.model, "sw_version": version,
        },
        "origin": {"name": "blindsight", "sw_version": version},
        "availability_topic": f"{topic}/availability",
        "state_topic": f"{topic}/state",
        "qos": 1,
        "components": {
            "result": result,
            "latency": {
                "platform": "sensor", "unique_id": f"{name}-latency", "name": "Latency", "device_class": "duration",
                "unit_of_measurement": "s", "state_class": "measurement", "entity_category": "diagnostic",
                "value_template": "{{ value_json.latency_s }}",
            },
            "pending": {
                "platform": "sensor", "unique_id": f"{name}-pending", "name": "Pictures waiting",
                "state_class": "measurement", "entity_category": "diagnostic",
                "value_template": "{{ value_json.pending }}",
            },
            "failed": {
                "platform": "sensor", "unique_id": f"{name}-failed", "name": "Pictures failed",
                "state_class": "total_increasing", "entity_category": "diagnostic",
                "value_template": "{{ value_json.failed }}",
            },
        },
    }  # fmt: skip


def result_message(who: Identity, answer: Answer) -> dict[str, Any]:
    """The answer as one flat JSON object: what a Node-RED `switch` or a Home Assistant template reads."""
    return {"device": who.device, "model": who.model, "time": _now(), **answer.to_json()}


def failure_message(who: Identity, reason: str) -> dict[str, Any]:
    """In the place of a result that does not come."""
    return {"device": who.device, "model": who.model, "time": _now(), "error": reason}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
