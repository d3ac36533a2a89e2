"""What the helper verifies before it decrypts anything (docs/wire.md section 7).

Adversary: a cloud that mauls, splices or replays, and devices that are malicious within their own keys.
Assumption: HMAC and SHA-256 (`wire.manifest`). Order matters: what is cheap and public first, the HMAC before
anything is remembered, the binding last and durable, so an attacker without a device's key can fill nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.helper.config import Limits
from blindsight.helper.keys import DeviceKeys, Keys
from blindsight.helper.store import Store, heads
from blindsight.nn.plan import Plan
from blindsight.wire import WireError, manifest
from blindsight.wire.jobs import Infer, Refused
from blindsight.wire.manifest import Manifest
from blindsight.wire.result import FailureCode


@dataclass(frozen=True)
class Checked:
    """A picture that may be run: nothing of it is decrypted yet."""

    manifest: Manifest
    digest: bytes
    keys: DeviceKeys


def check(
    request: Infer, plan: Plan | None, data: bytes, polys: bytes, keys: Keys, store: Store, limits: Limits
) -> Checked:
    """Checks one request; raises `Refused` with the code and reason that go to the cloud."""
    if plan is None:
        raise Refused(FailureCode.MODEL, f"the helper has no plan of this hash for {request.model}")
    try:
        parsed = manifest.parse(data)
    except WireError as error:
        raise Refused(FailureCode.MANIFEST, str(error)) from None
    said = (parsed.device, parsed.image, parsed.model, parsed.plan_hash)
    if said != (request.device, request.image, request.model, request.plan_hash):
        raise Refused(
            FailureCode.MANIFEST, "the manifest is of another device, image, model or plan than the request"
        )
    if (parsed.height, parsed.width, parsed.channels) != (plan.height, plan.width, plan.channels):
        raise Refused(FailureCode.MODEL, "the picture has another shape than the plan")
    found = keys.find(parsed.device, parsed.mode, parsed.key_id)
    if not found:
        raise Refused(FailureCode.KEY, f"key id {parsed.key_id.hex()} is not a live key of {parsed.device}")
    signed = [k for k in found if manifest.verify(data, k.manifest_key)]
    if not signed:
        raise Refused(FailureCode.MANIFEST, "the manifest's HMAC is wrong")
    split = _heads_checked(parsed, polys)
    digest = manifest.manifest_hash(data)
    store.bind(parsed, digest, request.attempt, heads(parsed, split), limits)
    return Checked(parsed, digest, signed[0])


def _heads_checked(parsed: Manifest, polys: bytes) -> list[bytes]:
    try:
        split = parsed.layout.split_masked(polys)
    except WireError as error:
        raise Refused(FailureCode.BLOCK, str(error)) from None
    for block, wanted in enumerate(parsed.c1_hashes):
        which = parsed.layout.polys_of(block)
        if parsed.layout.c1_hash(split[which.start : which.stop]) != wanted:
            raise Refused(FailureCode.BLOCK, f"block {block} is not the one the manifest names")
    return split
