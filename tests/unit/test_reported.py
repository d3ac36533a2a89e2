"""The README and docs/benchmarks.md show what bench/results holds, and nothing else."""

from bench import report


def test_readme_shows_the_results() -> None:
    text = report.README.read_text()
    assert report.readme(text) == text, "run: python -m bench.report"


def test_benchmarks_page_shows_the_results() -> None:
    assert report.page() == report.PAGE.read_text(), "run: python -m bench.report"


def test_plots_are_the_results() -> None:
    for section in report.SECTIONS:
        if section.plot and report.measured(section.name):
            shown = report.PAGE.parent / "plots" / section.plot
            assert shown.read_bytes() == (report.RESULTS / section.plot).read_bytes()


def test_a_changed_result_shows(monkeypatch, tmp_path) -> None:
    import shutil

    shutil.copytree(report.RESULTS, tmp_path / "results")
    changed = (tmp_path / "results/infer.csv").read_text().replace("mnist", "tsinm")
    (tmp_path / "results/infer.csv").write_text(changed)
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    assert report.page() != report.PAGE.read_text()
