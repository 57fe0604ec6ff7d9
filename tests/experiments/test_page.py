# SPDX-License-Identifier: Apache-2.0
"""Figure and page: whole, repeatable, and in need of nothing from elsewhere."""

from __future__ import annotations

import base64
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from experiments.made_up import make_compressed_row, make_config, make_record, make_row, make_runs

from fl_deepcabac.experiments import page as page_module
from fl_deepcabac.experiments.charts import CHARTS, DARK, LIGHT, Chart
from fl_deepcabac.experiments.page import (
    render_page,
    render_run,
    title_of,
    title_of_settings,
)
from fl_deepcabac.experiments.plots import draw_chart
from fl_deepcabac.experiments.rows import RoundRow
from fl_deepcabac.experiments.run_folder import RunRecord, append_row, write_config
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.summary import headline

VOID = {"meta", "img", "source", "br", "link"}


class Outline(HTMLParser):
    """Collects references and cells, and notices tags that are not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [
            value or "" for name, value in attrs if name in {"src", "srcset", "href", "data"}
        ]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data.strip())


@pytest.fixture(scope="module")
def page() -> str:
    """Return the page of a made-up run."""
    return render_page(make_record())


@pytest.fixture
def _blank_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the charts out of pages: they take most of the time."""
    monkeypatch.setattr(page_module, "draw_chart", lambda *_: "<svg/>")


def test_page_holds_everything_and_refers_to_nothing(page: str) -> None:
    outline = Outline(page)
    assert len(outline.references) == 2 * len(CHARTS)
    assert all(ref.startswith("data:image/svg+xml;base64,") for ref in outline.references)
    svgs = [base64.b64decode(ref.split(",")[1]).decode() for ref in outline.references]
    # Names of XML vocabularies and licences are addresses that nothing fetches.
    for document in [re.sub(r"data:[^\"]*", "", page), *svgs]:
        fetched = re.findall(
            r"(?:href|src|url\()\s*[=(]?\s*[\"']?(?:https?:)?//[^\s\"')]+", document
        )
        assert fetched == []
    assert "@import" not in page
    assert "<script" not in page


def test_page_states_what_was_run_and_what_came_out(page: str) -> None:
    record, text = make_record(), Outline(page).text
    assert title_of(record) in text
    stated = "".join(text).replace("\N{NO-BREAK SPACE}", " ")
    assert headline(record.runs)[1:] + "." in stated
    for expected in (
        "57.00 %",
        "40.0x",
        "0.800",
        "45 x 10",
        "relative step",
        "2026-01-02T03:04:05Z.",
    ):
        assert any(expected in piece for piece in text), expected


@pytest.mark.usefixtures("_blank_charts")
def test_page_escapes_names() -> None:
    rows = [make_row(layer_bytes={"<b>&": 4_000, "(header)": 0})]
    record = RunRecord(make_config(model=[{"name": "<b>&", "shape": [500]}]), {"<i>run": rows})
    page = render_page(record)
    assert "&lt;b&gt;&amp;" in page
    assert "&lt;i&gt;run" in page
    assert "<i>run" not in page


ODD_SETS: list[dict[str, list[RoundRow]]] = [
    {"uncompressed": [make_row()]},
    {"compressed": [make_compressed_row(accuracy=None, bits_per_weight=None, uplink_ratio=None)]},
    {"a": [make_row()], "b": [make_compressed_row(run="b", round=number) for number in (1, 2)]},
    {"a": [make_row()], **{f"c{n}": [make_compressed_row(run=f"c{n}")] for n in range(7)}},
]


@pytest.mark.usefixtures("_blank_charts")
@pytest.mark.parametrize("runs", ODD_SETS)
def test_page_bears_odd_sets_of_runs(runs: dict[str, list[RoundRow]]) -> None:
    Outline(render_page(RunRecord(make_config(), runs)))


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_chart_is_svg_whatever_the_runs(chart: Chart) -> None:
    for runs in [*ODD_SETS[1:], make_runs(n_rounds=40)]:
        svg = draw_chart(chart, runs, LIGHT)
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"


def test_chart_repeats_and_follows_the_theme() -> None:
    light, again, dark = (
        draw_chart(CHARTS[0], make_runs(), theme) for theme in (LIGHT, LIGHT, DARK)
    )
    assert light == again != dark


def test_runs_keep_their_colours() -> None:
    runs = make_runs()
    assert LIGHT.colour(runs, "uncompressed") == LIGHT.baseline
    assert LIGHT.colour(runs, "compressed") == LIGHT.runs[0]


@pytest.mark.usefixtures("_blank_charts")
def test_folder_is_rendered_from_its_two_files(tmp_path: Path) -> None:
    write_config(tmp_path, make_config())
    for rows in make_runs().values():
        for row in rows:
            append_row(tmp_path, row)
    assert render_run(tmp_path).runs == make_runs()
    png = (tmp_path / "savings.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n")
    assert len(png) > 10_000
    Outline((tmp_path / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("changes", "beginning"),
    [
        ({}, "digits, 10 clients, Dirichlet(0.5), 15 rounds"),
        ({"alpha": None, "model": "mlp"}, "digits (mlp), 10 clients, IID, "),
        ({"task": "shakespeare"}, "shakespeare, 10 clients, natural parts, "),
    ],
)
def test_title_says_what_is_trained_and_shared_out_how(
    changes: dict[str, Any], beginning: str
) -> None:
    assert title_of_settings(asdict(RunSettings(**changes))).startswith(beginning)
