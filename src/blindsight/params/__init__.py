"""Parameter sets that were checked: rings and their rounding."""

from blindsight.params.rings import CONCEALED, INGEST, LINEAR, LOGITS, RINGS, RingParams

__all__ = ["CONCEALED", "INGEST", "LINEAR", "LOGITS", "RINGS", "RingParams"]
