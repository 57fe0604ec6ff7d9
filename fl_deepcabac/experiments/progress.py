# SPDX-License-Identifier: Apache-2.0
"""How runs proceed, drawn on a terminal that the caller provides.

`LiveProgress` is the observer of several runs, one after the other; it shows them side by side,
round by round. On anything but a terminal it writes one line per round instead.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fl_deepcabac.experiments.rows import RoundRow
from fl_deepcabac.experiments.summary import format_bytes, format_percent, format_ratio

__all__ = ["LiveProgress", "round_table"]

# Lines of the display that are not rounds: head and frame of the table, and the line below it.
_OTHER_LINES = 8
_DOING = {"train": "training", "evaluate": "evaluating"}


def round_table(
    runs: Mapping[str, Sequence[RoundRow]], *, n_rounds: int, n_shown: int | None = None
) -> Table:
    """Lay out the rounds of several runs side by side.

    Parameters
    ----------
    runs : mapping of str to sequence of RoundRow
        By label; a run may have fewer rounds than others.
    n_rounds : int
        Rounds that each run will have.
    n_shown : int, optional
        Show only so many rounds: those around the latest one.

    Returns
    -------
    Table
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("\nround", justify="right", style="dim")
    for label, rows in runs.items():
        for title in _titles(rows):
            head = f"{label}\n{title}" if title == "accuracy" else f"\n{title}"
            table.add_column(head, justify="right", no_wrap=True)
    latest = min((len(rows) for rows in runs.values() if rows), default=0)
    n_visible = n_rounds if n_shown is None else min(n_rounds, max(n_shown, 1))
    first = max(0, min(latest - n_visible + 1, n_rounds - n_visible))
    for index in range(first, first + n_visible):
        cells = [str(index + 1)]
        for rows in runs.values():
            cells += _cells(rows[index], rows) if index < len(rows) else [""] * len(_titles(rows))
        table.add_row(*cells)
    return table


def _titles(rows: Sequence[RoundRow]) -> list[str]:
    """Name the columns of a run; where nothing is compressed, bits and ratio say nothing."""
    titles = ["accuracy", "uplink", "downlink"]
    return [*titles, "bits/weight", "ratio"] if rows and rows[0].codec != "none" else titles


def _cells(row: RoundRow, rows: Sequence[RoundRow]) -> list[str]:
    """Fill the columns of a run."""
    bits = "–" if row.bits_per_weight is None else f"{row.bits_per_weight:.3f}"
    cells = [
        format_percent(row.accuracy),
        format_bytes(row.uplink_packet_bytes),
        format_bytes(row.downlink_packet_bytes),
        bits,
        format_ratio(row.uplink_ratio),
    ]
    return cells[: len(_titles(rows))]


class LiveProgress:
    """Shows runs side by side while they proceed; a context manager.

    Parameters
    ----------
    console : Console
        Where to draw.
    title : str
        What is being run.
    labels : sequence of str
        Of all runs, in the order in which they will run.
    n_rounds : int
        Rounds that each will have.
    """

    def __init__(
        self, console: Console, *, title: str, labels: Sequence[str], n_rounds: int
    ) -> None:
        self.rows: dict[str, list[RoundRow]] = {label: [] for label in labels}
        self._console = console
        self._title = title
        self._n_rounds = n_rounds
        self._label = labels[0]
        self._doing = "starting"
        self._started = time.monotonic()
        self._live = Live(console=console, get_renderable=self._render, transient=True)

    def __enter__(self) -> LiveProgress:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._console.print(self._title, markup=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def begin(self, label: str) -> None:
        """Say that the run of this label starts."""
        self._label = label
        self._doing = "starting Flower's simulation engine"
        if not self._console.is_terminal:
            self._console.print(f"{label}: {self._doing}", markup=False)

    def on_reply(self, phase: str, arrived: int, asked: int) -> None:
        """Show how many clients have replied."""
        self._doing = f"{_DOING.get(phase, phase)}, {arrived} of {asked} clients"

    def on_round(self, row: RoundRow) -> None:
        """Show another round."""
        self.rows[row.run].append(row)
        if not self._console.is_terminal:
            self._console.print(
                f"{row.run}: round {row.round} of {self._n_rounds}, "
                f"accuracy {format_percent(row.accuracy)}, "
                f"uplink {format_bytes(row.uplink_packet_bytes)} "
                f"({format_ratio(row.uplink_ratio)}), "
                f"downlink {format_bytes(row.downlink_packet_bytes)}",
                markup=False,
                highlight=False,
            )

    def refresh(self) -> None:
        """Draw now instead of at the next tick."""
        self._live.refresh()

    def _render(self) -> Group:
        """Draw the present state."""
        seconds = int(time.monotonic() - self._started)
        n_done = len(self.rows[self._label])
        status = Text.assemble(
            (f"{self._label}", "bold"),
            f" · round {min(n_done + 1, self._n_rounds)} of {self._n_rounds}"
            f" · {self._doing} · {seconds // 60}:{seconds % 60:02d}",
        )
        table = round_table(
            self.rows, n_rounds=self._n_rounds, n_shown=self._console.height - _OTHER_LINES
        )
        return Group(Text(self._title, style="bold"), table, status)
