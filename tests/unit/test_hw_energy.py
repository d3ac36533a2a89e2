"""Power traces: figures checked by hand, both meters' headers, and what is refused."""

from pathlib import Path

import pytest

from blindsight.hw.energy import TraceError, energy


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_ppk2(tmp_path: Path) -> None:
    """10 mA for 1 s, up to 30 mA in the next second: 10 + 20 mC at 3 V."""
    path = write(
        tmp_path / "p.csv", "Timestamp(ms),Current(uA),D0-D7\n0,10000,0\n1000,10000,0\n2000,30000,1\n"
    )
    got = energy(path, volts=3.0)
    assert got["coulombs"] == pytest.approx(0.030) and got["joules"] == pytest.approx(0.090)
    assert got["mean_ma"] == pytest.approx(15) and got["peak_ma"] == pytest.approx(30)
    assert (got["seconds"], got["samples"], got["kind"]) == (2, 3, "measured")
    late = energy(path, volts=3.0, begin=1)
    assert late["joules"] == pytest.approx(0.060) and late["seconds"] == 1
    with pytest.raises(TraceError, match="--volts"):
        energy(path)


@pytest.mark.parametrize(
    "header", ["time (s),current (A),voltage (V)", "#time,current,voltage", "Time[s],Current[A],Voltage[V]"]
)
def test_joulescope(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "j.csv", f"{header}\n5.0,0.1,5.0\n5.5,0.1,5.0\n6.0,0.1,5.0\n")
    assert energy(path)["joules"] == pytest.approx(0.5)
    assert energy(path, volts=3.3)["joules"] == pytest.approx(0.33)
    assert energy(path, end=0.5)["seconds"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no columns"),
        ("a,b\n1,2\n", "no columns"),
        ("time (h),current (A),voltage (V)\n", "time in h"),
        ("time,current,voltage\n0,1,1\nx,1,1\n", "line 3: not numbers"),
        ("time,current,voltage\n0,1,1\n1,nan,1\n", "line 3: not a finite"),
        ("time,current,voltage\n1,1,1\n0,1,1\n", "does not grow"),
        ("time,current,voltage\n1,1,1\n", "no samples"),
    ],
)
def test_bad_traces_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(TraceError, match=complaint):
        energy(write(tmp_path / "x.csv", text))
