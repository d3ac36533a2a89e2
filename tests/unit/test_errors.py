"""Errors stay one short printable line, whatever they quote."""

import pickle

from hypothesis import example, given
from hypothesis import strategies as st

from blindsight.errors import OneLine, quoted
from blindsight.nn.plan import PlanError
from blindsight.wire.jobs import Refused


@given(st.text(max_size=2000), st.integers(16, 700))
@example("a\x1b[2J\r\nforged: ok\u2028\u202e", 200)
@example("a" * 2000, 16)
def test_one_short_printable_line(said: str, limit: int) -> None:
    text = quoted(said, limit)
    assert text.isprintable() and len(text) <= limit
    words = " ".join(said.split())
    if words.isprintable() and len(words) <= limit:
        assert text == words


def test_the_middle_is_left_out() -> None:
    text = str(PlanError(f"tensor {'x' * 5000!r}: compile the model again"))
    assert len(text) == OneLine.LIMIT
    assert text.startswith("tensor 'xxx") and text.endswith("xxx': compile the model again")


def test_errors_keep_what_they_are() -> None:
    error = pickle.loads(pickle.dumps(PlanError("a\nb")))
    assert isinstance(error, ValueError) and str(error) == "a b"
    refusal = Refused(17, "no\nmaterial")
    assert (refusal.code, str(refusal)) == (17, "no material (code 17)")
