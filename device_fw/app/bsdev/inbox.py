"""What the broker brings: commands, receipts, results, failures.

Adversary: whoever can publish to this device's topics (the cloud and its broker). A command can ask for a
picture, an interval or a reboot, never change keys, hosts or code. A receipt must name the manifest; a result
must open under its own key; anything else changes nothing. handle() returns only when what it learnt is on
flash: the link acknowledges to the broker after it.
"""

from bsdev import answer
from bsdev.clock import after, doubled, event, patience

MAX_TRIES = 5
RETRIABLE = (1, 2, 4, 5)  # failure codes worth a new id; 3 (model, plan) and 6 (key) need a person


class Inbox:
    """new_id() -> (image id, seed) for pictures sent anew; hook(label, index) or None for answers.

    `capture`, `reboot`: asked for by a command; `interval`: seconds asked for, or None. The main loop clears
    them.
    """

    def __init__(self, cfg, prefix, store, new_id, hook):
        self.cfg = cfg
        self.head = (prefix + "/").encode()
        self.store = store
        self.new_id = new_id
        self.hook = hook
        self.capture = self.reboot = False
        self.interval = None
        self.tell = None  # home.py's, for the owner's own broker

    def handle(self, topic, payload, retained):
        """topic: bytes; payload: a view that is reused after the call."""
        if not topic.startswith(self.head):
            return
        parts = topic[len(self.head) :].split(b"/")
        if len(parts) != 2:
            return
        if parts[0] == b"cmd":
            if not retained:  # a retained command would repeat at every connection
                self._command(parts[1], bytes(payload[:16]))
        elif parts[0] == b"down" and len(payload) >= 2 and payload[1] == 1 and len(parts[1]) == 32:
            try:
                pic = self.store.pictures.get(str(parts[1], "ascii"))
            except ValueError:
                return  # not even text
            if pic and pic.hash:
                self._answer(pic, payload[0], payload[2:])

    def _command(self, name, value):
        if name == b"capture":
            self.capture = True
        elif name == b"interval" and 0 < len(value) <= 6 and all(48 <= c <= 57 for c in value):
            self.interval = min(int(value), 432000)  # five days: the range of ticks_ms
            self.store.set_interval(self.interval)
            event("interval", seconds=self.interval)
        elif name == b"reboot":
            self.reboot = True

    def _answer(self, pic, kind, body):
        if kind == answer.RECEIPT:
            if answer.receipt_hash(body) != pic.hash:
                event("rejected", image=pic.id, reason="receipt for another manifest")
            elif not pic.accepted:
                self.store.accept(pic)
                pic.sends = 0
                patience(self.cfg, pic)
                event("receipt", image=pic.id, frame=pic.frame)
        elif kind == answer.RESULT:
            self._result(pic, body)
        elif kind == answer.FAILURE:
            failure = answer.failure(body)
            if failure:
                self._failed(pic, failure[0], failure[1])

    def _result(self, pic, body):
        try:
            attempt, values = answer.open_result(body, self.cfg, pic)
        except ValueError as e:
            event("rejected", image=pic.id, reason=str(e))
            return
        index, label, extra = answer.classify(values, self.cfg)
        event("result", image=pic.id, frame=pic.frame, index=index, label=label, attempt=attempt, **extra)
        if self.tell:
            self.tell(pic, index, label, attempt, extra)
        if self.hook:
            try:
                self.hook(label, index)
            except Exception as e:  # the owner's code; the answer counts as delivered
                event("hook", image=pic.id, reason=str(e))
        self.store.drop(pic)

    def _failed(self, pic, code, reason):
        cfg = self.cfg
        again = bool(pic.seed) and code in RETRIABLE and pic.tries < MAX_TRIES
        event("failure", image=pic.id, frame=pic.frame, code=code, reason=reason, final=not again)
        if not again:
            self.store.drop(pic)
            return
        image, seed = self.new_id()
        new = self.store.renew(pic, image, seed)
        new.due = after(doubled(cfg.retry_s, new.tries, cfg.retry_max_s))
        event("renewed", image=new.id, frame=new.frame, tries=new.tries)
