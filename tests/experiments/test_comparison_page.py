# SPDX-License-Identifier: Apache-2.0
"""The report of a comparison: whole, repeatable, in need of nothing, and usable in a browser."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from experiments.made_up import (
    STUDY_CODECS,
    make_config,
    make_finished,
    make_runs,
    make_study,
    write_study,
)

from fl_deepcabac.cli import main
from fl_deepcabac.experiments.comparison import page as page_module
from fl_deepcabac.experiments.comparison.figures import CHARTS, Chart, draw_files, draw_for_page
from fl_deepcabac.experiments.comparison.grouping import Comparison, compare
from fl_deepcabac.experiments.comparison.page import render_comparison
from fl_deepcabac.experiments.comparison.styles import DARK, LIGHT, styles_of
from fl_deepcabac.experiments.comparison.tables import COLUMNS, csv_table, markdown_table
from fl_deepcabac.experiments.run_folder import append_row, write_config

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# FP32, one that is cheap and bad, ours, and names that sort by their numbers.
CODECS = tuple(STUDY_CODECS[index] for index in (0, 6, 7, 11))
VOID = {"meta", "br", "link", "img"}


class Outline(HTMLParser):
    """Collects references and text, and notices tags that are not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.cells: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._collect(attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self._collect(attrs)

    def _collect(self, attrs: list[tuple[str, str | None]]) -> None:
        values = [(name, value or "") for name, value in attrs]
        self.references += [v for n, v in values if n in {"src", "srcset", "href", "data"}]
        self.ids += [value for name, value in values if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"td", "th"} and data.strip():
            self.cells.append(data.strip())


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """Return a small study of two settings."""
    return compare(make_study(n_rounds=5, seeds=(0, 1), codecs=CODECS))


@pytest.fixture(scope="module")
def page(comparison: Comparison) -> str:
    """Return its page."""
    return render_comparison(comparison, commands=["fl-deepcabac report x"])


@pytest.fixture
def _blank_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the charts out: they take most of the time."""
    monkeypatch.setattr(page_module, "draw_for_page", lambda *_: "<svg/>")
    monkeypatch.setattr(page_module, "draw_files", lambda *_: ("<svg/>", b"\x89PNG"))


def test_page_is_whole_and_refers_to_nothing(comparison: Comparison, page: str) -> None:
    outline = Outline(page)
    assert page.count("<svg") == len(CHARTS) * len(comparison.settings)
    assert all(reference.startswith("#") for reference in outline.references)
    referred = {*(ref[1:] for ref in outline.references), *re.findall(r"url\(#([^)]+)\)", page)}
    assert referred
    assert referred <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert not re.search(r"https?:|//[a-z]|@import|<script [^>]*src|url\((?!#)", page)


def test_page_says_what_came_out(comparison: Comparison, page: str) -> None:
    text = html.unescape(page).replace("\N{NO-BREAK SPACE}", " ")
    assert re.search(r"<b>DeepCABAC</b>: \d\d\.\d ± \d\.\d % at 1/1\d\d of the uplink, ", text)
    assert "points below FP32 (2 seeds)" in text
    assert "4 codecs, 2 settings, 16 runs" in text
    cells = Outline(page).cells
    assert cells.count("DeepCABAC") == len(comparison.settings)
    assert [cell for cell in cells if cell in {column.name for column in COLUMNS}] == [
        column.name for _ in comparison.settings for column in COLUMNS
    ]


def test_charts_take_their_colours_from_the_page(page: str) -> None:
    assert LIGHT.named().keys() == DARK.named().keys()
    for palette in (LIGHT, DARK):
        assert len(set(palette.named().values())) == len(palette.named())
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert set(re.findall(r"--chart-([\w-]+)", drawn)) <= set(LIGHT.named())
    assert "#" not in re.sub(r"(url\(|href=\")#", "", drawn)


@pytest.mark.usefixtures("_blank_charts")
def test_page_escapes_names() -> None:
    runs = [make_finished(), make_finished('<i>me & "you"</i>', about={"case": "<b>"})]
    page = render_comparison(compare(runs))
    Outline(page)
    assert "<i>me" not in page
    assert "<b>: " not in page
    assert "&lt;i&gt;me &amp; &#34;you&#34;&lt;/i&gt;" in page


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_chart_escapes_names_and_bears_odd_sets(chart: Chart) -> None:
    name = 'a <i> & "$x_1$" id="codec-0" that is longer than any place for it'
    odd = compare(
        [
            make_finished(accuracies=(0.9,), rounds=1),
            make_finished(name, rounds=1, accuracies=(None,), bits_per_weight=None, layer_bytes={}),
            make_finished("zero", rounds=1, accuracies=(0.1,), uplink_packet_bytes=0),
        ]
    )
    svg = draw_for_page(chart, odd, odd.settings[0], "p")
    root = ElementTree.fromstring(svg)
    assert "<i>" not in svg
    assert root.tag == "svg"
    lone = compare([make_finished("ours", accuracies=(None, None, None), layer_bytes={})])
    ElementTree.fromstring(draw_for_page(chart, lone, lone.settings[0], "p"))


def test_equal_runs_give_equal_bytes(comparison: Comparison, page: str) -> None:
    again = compare(make_study(n_rounds=5, seeds=(0, 1), codecs=CODECS))
    for chart in CHARTS:
        assert draw_for_page(chart, again, again.settings[0], f"{chart.name}-0") in page
    assert csv_table(again) == csv_table(comparison)
    assert markdown_table(again) == markdown_table(comparison)


@pytest.mark.usefixtures("_blank_charts")
def test_order_of_runs_does_not_matter(comparison: Comparison) -> None:
    runs = list(make_study(n_rounds=5, seeds=(0, 1), codecs=CODECS))
    assert render_comparison(compare(reversed(runs))) == render_comparison(comparison)


def test_files_of_a_chart_repeat_and_stand_alone(comparison: Comparison) -> None:
    svg, png = draw_files(CHARTS[0], comparison)
    assert (svg, png) == draw_files(CHARTS[0], comparison)
    assert png.startswith(b"\x89PNG\r\n")
    root = ElementTree.fromstring(svg)
    identifiers = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    # Names of XML vocabularies are addresses that nothing fetches.
    assert not re.search(r"(href|src)=\"(?!#)", svg)


def test_codec_looks_the_same_everywhere(comparison: Comparison) -> None:
    styles = styles_of(comparison)
    assert styles["DeepCABAC"].colour == "ours"
    assert styles["FP32"].colour == "baseline"
    many = compare(make_finished(f"codec {number}", about={"codec": "x"}) for number in range(24))
    looks = {(style.colour, style.marker) for style in styles_of(many).values()}
    assert len(looks) == 24


def test_tables_hold_the_numbers(comparison: Comparison) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_table(comparison))))
    assert len(lines) == 8
    assert [line["alpha"] for line in lines] == ["0.1"] * 4 + ["iid"] * 4
    ours = next(line for line in lines if line["label"] == "DeepCABAC")
    assert (ours["seeds"], ours["n_seeds"], ours["n_pairs"]) == ("0 1", "2", "2")
    assert float(ours["uplink_ratio_to_fp32"]) > 100
    assert json.loads(ours["codec_settings"]) == {"relative_step": 6.0}
    table = markdown_table(comparison)
    assert table.count("\n| **DeepCABAC** | ") == 2
    assert "### Dirichlet(0.1)" in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1


def test_markdown_keeps_names_as_they_are() -> None:
    table = markdown_table(compare([make_finished("a|b <c> *d*")]))
    assert r"| **a\|b \<c\> \*d\*** |" in table


# ------------------------------------------------------------------------------ the command


@pytest.mark.usefixtures("_blank_charts")
def test_report_of_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study"
    runs = [*make_study(n_rounds=2, codecs=CODECS), make_finished("cut", accuracies=(0.1,))]
    write_study(study, runs)
    assert main(["report", str(study)]) == 0
    said = capsys.readouterr().out
    assert "note: cut-0 is left out: 1 of 3 rounds." in said
    assert re.search(r"^IID: DeepCABAC: .* below FP32 \(3 seeds\)$", said, flags=re.MULTILINE)
    names = {path.name for path in study.iterdir()}
    assert names == {"runs", "report.html", "summary.csv", "summary.md", "figures"}
    figures = sorted(path.name for path in (study / "figures").iterdir())
    assert figures == sorted(f"{chart.name}.{kind}" for chart in CHARTS for kind in ("svg", "png"))
    page = (study / "report.html").read_text(encoding="utf-8")
    assert f"fl-deepcabac report {study}\n" in page
    # A report in the folder keeps it a study, and what is made from it the same.
    assert main(["report", str(study)]) == 0
    assert (study / "report.html").read_text(encoding="utf-8") == page


@pytest.mark.usefixtures("_blank_charts")
def test_report_of_several_folders(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for step, folder in enumerate(folders, start=1):
        folder.mkdir()
        runs = make_config()["runs"]
        runs[1]["codec_settings"] = {"relative_step": step}
        settings = {**make_config()["settings"], "seed": step}
        write_config(folder, make_config(runs=runs, settings=settings))
        for rows in make_runs().values():
            for row in rows:
                append_row(folder, row)
    out = tmp_path / "out"
    assert main(["report", *map(str, folders), "--out", str(out)]) == 0
    lines = list(csv.DictReader(io.StringIO((out / "summary.csv").read_text(encoding="utf-8"))))
    assert [(line["label"], line["seeds"]) for line in lines] == [
        ("uncompressed", "1 2"),
        ("compressed, relative_step 1", "1"),
        ("compressed, relative_step 2", "2"),
    ]
    assert not (folders[0] / "report.html").exists()


def test_comparison_does_not_replace_the_page_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path, make_config())
    assert main(["report", str(tmp_path), str(tmp_path)]) == 2
    assert "expected a folder for the comparison, found that of a run" in capsys.readouterr().err
    (tmp_path / "study" / "runs").mkdir(parents=True)
    assert main(["report", str(tmp_path / "study"), "--out", str(tmp_path / "out")]) == 2
    assert (
        "of a study or, with config.json, of a run, or a table of results, found another"
        in capsys.readouterr().err
    )
    (tmp_path / "study" / "studies").mkdir()
    assert main(["report", str(tmp_path / "study")]) == 2
    assert "expected a run that came to its end, found none" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]) == 2
    assert (
        "of a study or, with config.json, of a run, or a table of results, found none"
        in capsys.readouterr().err
    )


# ------------------------------------------------------------------------------ in a browser

HARNESS = """<!DOCTYPE html><body>
<iframe id="page" style="width:390px;height:800px" srcdoc="{page}"></iframe>
<pre id="result"></pre><script>
const frame = document.getElementById("page");
frame.onload = () => {{
  const inner = frame.contentDocument, root = inner.documentElement, result = {{}};
  const named = (text, places) =>
    [...inner.querySelectorAll(places)].find((place) => place.textContent === text);
  const head = (text) => named(text, "thead th");
  const names = () => [...inner.querySelector("tbody").rows].map((row) => row.cells[0].textContent);
  const sort = (text) => {{
    head(text).querySelector("button").click();
    return [names(), head(text).getAttribute("aria-sort")];
  }};
  result.first = names();
  result.uplink = sort("Uplink");
  result.again = sort("Uplink");
  result.accuracyHead = head("Accuracy").getAttribute("aria-sort");
  result.codec = sort("Codec");
  for (const width of [390, 1600]) {{
    frame.style.width = width + "px";
    result["overflow" + width] = root.scrollWidth - root.clientWidth;
  }}
  const ours = named("DeepCABAC", "tbody th button");
  ours.click();
  result.pressed = ours.getAttribute("aria-pressed");
  result.lit = [...new Set([...inner.querySelectorAll(".lit")].map((part) => part.classList[0]))];
  result.charts = inner.querySelectorAll(".panel svg").length;
  result.shown = [...inner.querySelectorAll(".panel svg text")].map((text) => text.textContent);
  document.getElementById("result").textContent = JSON.stringify(result);
}};
</script></body>"""


@pytest.fixture(scope="module")
def seen(page: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what a browser says of the page, and what it complains about."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs one of {', '.join(BROWSERS)} on PATH")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "harness.html").write_text(
        HARNESS.format(page=html.escape(page, quote=True)), encoding="utf-8"
    )
    options = "--headless=new --no-sandbox --disable-gpu --enable-logging=stderr --dump-dom"
    answer = subprocess.run(
        [
            browser,
            *options.split(),
            f"--user-data-dir={folder / 'profile'}",
            (folder / "harness.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r'<pre id="result">(.+?)</pre>', answer.stdout)
    console = [line for line in answer.stderr.splitlines() if "CONSOLE" in line]
    return {"console": console, **json.loads(html.unescape(found[1]) if found else "{}")}


def test_browser_has_nothing_to_complain_about(seen: dict[str, Any]) -> None:
    assert seen["console"] == []
    assert seen["charts"] == 12
    assert "DeepCABAC" in seen["shown"]


def test_heads_sort_the_table(seen: dict[str, Any]) -> None:
    by_uplink = ["DeepCABAC", "Top-k 1 %", "Top-k 10 %", "FP32"]
    assert seen["first"] != by_uplink
    assert seen["uplink"] == [by_uplink, "ascending"]
    assert seen["again"] == [by_uplink[::-1], "descending"]
    assert seen["accuracyHead"] == "none"
    assert seen["codec"] == [["DeepCABAC", "FP32", "Top-k 1 %", "Top-k 10 %"], "ascending"]


def test_page_fits_a_phone_and_a_wide_screen(seen: dict[str, Any]) -> None:
    assert (seen["overflow390"], seen["overflow1600"]) == (0, 0)


def test_name_of_a_codec_picks_it_out_in_the_charts(
    seen: dict[str, Any], comparison: Comparison
) -> None:
    assert seen["pressed"] == "true"
    assert seen["lit"] == [styles_of(comparison)["DeepCABAC"].gid]


def test_page_is_called_as_its_studies_are(tmp_path: Path) -> None:
    for seed, (name, title) in enumerate(
        {"a": "Digits, <all>", "b": "", "c": "Digits, <all>"}.items()
    ):
        study = make_study(n_rounds=2, seeds=(seed,), alphas=(0.1,), codecs=CODECS)
        write_study(tmp_path / name, study)
        (tmp_path / name / "studies").mkdir()
        (tmp_path / name / "studies" / "grid.toml").write_text(f'title = "{title}"')
    folders = [str(tmp_path / name) for name in "abc"]
    assert main(["report", *folders, "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<h1>Digits, &lt;all&gt;</h1>" in page
    assert f"fl-deepcabac experiment {folders[0]}/studies/grid.toml --out NEW_FOLDER" in page
    assert main(["report", folders[1]]) == 0
    page = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert "<h1>Codecs for federated updates compared</h1>" in page
