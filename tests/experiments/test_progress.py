# SPDX-License-Identifier: Apache-2.0
"""What a terminal and a pipe get to see of a run."""

from __future__ import annotations

import io

import pytest
from experiments.made_up import make_compressed_row, make_row, make_runs
from rich.console import Console

from fl_deepcabac.experiments.progress import LiveProgress, round_table


def console_of(*, is_terminal: bool, height: int = 40) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=is_terminal, width=110, height=height, color_system=None
    )


def output_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_shows_runs_side_by_side() -> None:
    console = console_of(is_terminal=False)
    console.print(round_table(make_runs(), n_rounds=3))
    lines = [line.split() for line in output_of(console).splitlines() if line.strip()]
    assert lines[0] == ["uncompressed", "compressed"]
    first = "1 20.00 % 4.00 kB 8.00 kB 19.00 % 100 B 8.00 kB 0.800 40.0x"
    assert first.split() in lines
    assert len([line for line in lines if line[0].isdigit()]) == 3


@pytest.mark.parametrize(
    ("n_done", "expected"),
    [(0, range(1, 6)), (4, range(1, 6)), (12, range(9, 14)), (20, range(16, 21))],
)
def test_table_follows_the_latest_round(n_done: int, expected: range) -> None:
    rows = [make_row(round=number + 1) for number in range(n_done)]
    table = round_table({"a": rows}, n_rounds=20, n_shown=5)
    assert list(table.columns[0].cells) == [str(number) for number in expected]


def test_pipe_gets_one_line_per_round() -> None:
    console = console_of(is_terminal=False)
    with LiveProgress(console, title="digits", labels=["compressed"], n_rounds=2) as progress:
        progress.begin("compressed")
        progress.on_reply("train", 1, 2)
        progress.on_round(make_compressed_row())
    assert output_of(console).splitlines() == [
        "digits",
        "compressed: starting Flower's simulation engine",
        "compressed: round 1 of 2, accuracy 48.00 %, uplink 100 B (40.0x), downlink 8.00 kB",
    ]


def test_terminal_gets_a_live_table() -> None:
    console = console_of(is_terminal=True)
    labels = ["uncompressed", "compressed"]
    with LiveProgress(console, title="digits", labels=labels, n_rounds=2) as progress:
        progress.begin("uncompressed")
        progress.on_round(make_row())
        progress.on_reply("evaluate", 1, 2)
        progress.refresh()
    text = output_of(console)
    assert "50.00 %" in text
    assert "round 2 of 2 · evaluating, 1 of 2 clients" in text
