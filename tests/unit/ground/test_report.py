"""The report: one file that needs nothing beside it, and the same figures for machines."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from forerun.report import Curve, Episode, ReportData, Row, Ticks, Verdict, render_report
from forerun_sim.errors import ForerunError

PERIOD = 0.02


def episode(amplitude: float, total: float, success: bool, seconds: float = 2.0) -> Episode:
    time = np.arange(0, seconds, PERIOD)
    position = amplitude * np.stack([0.3 * np.sin(time), np.sin(3 * time)], axis=1)
    states = np.concatenate([position, np.gradient(position, PERIOD, axis=0)], axis=1)
    return Episode(states, np.cos(time)[:, None], PERIOD, total, success, seed=3)


@pytest.fixture(scope="module")
def data() -> ReportData:
    generator = np.random.default_rng(0)
    return ReportData(
        title="Demo of <cartpole>",
        rows=[Row("Median return", 10.0, 30.0, better="higher"), Row("Error", 0.1, 0.2, better="lower")],
        curves=[Curve("training", [1.0, 0.5, 0.3], [1.1, 0.4, 0.6])],
        k_step={"before": {1: 0.1, 10: 0.5}, "after": {1: 0.1, 10: 0.2}},
        before=[episode(0.3, 9.0, False), episode(0.4, 10.0, False), episode(0.5, 14.0, True)],
        after=[episode(3.0, 30.0, True)],
        joints=("slider", "hinge"),
        actions=("slider",),
        joint_units=("m", "rad"),
        action_units=("N",),
        robot="cartpole",
        ticks=Ticks(PERIOD, PERIOD + 1e-4 * generator.normal(size=500), generator.uniform(1e-3, 3e-3, 500), swaps=1),
        verdict=Verdict(
            True,
            "better on held-out trials",
            [
                {"name": "latency", "figure": 0.007, "passed": True, "text": "99 of 100 plans in 7 ms"},
                {"name": "control", "figure": None, "passed": True, "text": "it is no judge"},
            ],
        ),
        settings={"horizon": 30, "limit": float("nan")},
        seeds={"training": 1},
    )


class Sources(HTMLParser):
    """Everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_the_page_needs_no_other_file_and_no_network(data: ReportData, tmp_path: Path) -> None:
    page = render_report(data, tmp_path / "report.html").read_text(encoding="utf-8")
    sources = Sources()
    sources.feed(page)
    assert sources.found
    assert all(source.startswith("data:image/") for source in sources.found)
    assert sources.tags.isdisjoint({"script", "link", "iframe", "object"})
    assert "@import" not in page
    assert "Demo of &lt;cartpole&gt;" in page
    assert page.count("<td>passed</td>") == 1 and page.count("<td>not judged</td>") == 1


def test_before_and_after_are_animated_in_real_time(data: ReportData, tmp_path: Path) -> None:
    page = render_report(data, tmp_path / "report.html").read_text(encoding="utf-8")
    found = re.search(r"data:image/gif;base64,([^\"]+)", page)
    assert found is not None
    image = Image.open(io.BytesIO(base64.b64decode(found.group(1))))
    total = 0.0
    for frame in range(image.n_frames - 1):  # type: ignore[attr-defined]
        image.seek(frame)
        total += image.info["duration"] / 1000
    assert total == pytest.approx(2.0, abs=0.1)


def test_machines_find_the_same_figures_beside_the_page(data: ReportData, tmp_path: Path) -> None:
    render_report(data, tmp_path / "report.html")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    summary = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert summary["median_return"] == {"before": 10.0, "after": 30.0}
    assert [run["success"] for run in summary["episodes"]["before"]] == [False, False, True]
    assert summary["k_step"]["after"]["10"] == 0.2
    assert summary["learning"]["training"] == {"epochs": 3, "best": 0.4}
    assert summary["ticks"]["period_s"]["p50"] == pytest.approx(PERIOD, rel=1e-2)
    assert summary["verdict"]["promoted"] is True and summary["verdict"]["checks"][0]["name"] == "latency"
    assert summary["settings"] == {"horizon": 30, "limit": None}


def test_plain_data_gives_the_same_page_as_the_dataclasses(data: ReportData, tmp_path: Path) -> None:
    plain = {
        "title": "Run",
        "curves": [{"name": "training", "train": [1.0, 0.5], "validation": [1.0, 0.6]}],
        "k_step": {"model": {"1": 0.1, "5": 0.3}},
        "rows": [{"name": "samples per second", "before": 1200.0}],
    }
    same = ReportData(
        title="Run",
        curves=[Curve("training", [1.0, 0.5], [1.0, 0.6])],
        k_step={"model": {1: 0.1, 5: 0.3}},
        rows=[Row("samples per second", 1200.0)],
    )
    first, second = render_report(plain, tmp_path / "a.html"), render_report(same, tmp_path / "b.html")
    assert first.read_bytes() == second.read_bytes()


def test_parts_that_are_absent_leave_no_trace(tmp_path: Path) -> None:
    page = render_report(ReportData(title="Nothing yet"), tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<section" not in page
    assert json.loads((tmp_path / "report.json").read_text())["ticks"] is None


def test_a_report_that_cannot_be_written_leaves_the_old_one(data: ReportData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ForerunError, match="file"):
        render_report(data, tmp_path / "file" / "report.html")
    assert (tmp_path / "file").read_text() == "no folder"
