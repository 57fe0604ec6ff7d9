# SPDX-License-Identifier: Apache-2.0
"""What a person sees while a study runs: a bar for all of it, the run at work, and the time left.

On a terminal bars are drawn and redrawn; elsewhere, one line a run is written. Invariant: the time
left is reckoned from the updates of runs that were run here; those skipped cost nothing.
"""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from fl_deepcabac.experiments.rows import RoundRow, Totals
from fl_deepcabac.experiments.study import PlannedRun, Study
from fl_deepcabac.experiments.summary import format_bytes, format_percent, format_ratio

__all__ = ["StudyProgress"]


class _CountColumn(ProgressColumn):
    """How many of how many, in the unit of the bar."""

    def render(self, task: Task) -> Text:
        """Draw."""
        return Text(str(task.fields["count"]))


class StudyProgress:
    """Shows how a study proceeds; a context manager and a `StudyObserver`.

    Parameters
    ----------
    console : Console
    study : Study
    """

    def __init__(self, console: Console, study: Study) -> None:
        self._console = console
        self._study = study
        self._n_done = 0
        self._rows: list[RoundRow] = []
        self._run: PlannedRun | None = None
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            _CountColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        # In updates, because a run of many clients takes longer.
        self._whole = self._bars.add_task(
            study.title, total=sum(map(_n_updates, study.runs)), count=self._count()
        )
        self._current = self._bars.add_task("starting", total=1, count="")

    def __enter__(self) -> StudyProgress:
        self._bars.start()
        self._say(f"{self._study.title}: {len(self._study.runs)} runs")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def on_skip(self, run: PlannedRun) -> None:
        """Count a run that has finished earlier."""
        self._n_done += 1
        # Not as progress: it took no time here.
        left = self._bars.tasks[self._whole].total or 0
        self._bars.update(self._whole, total=left - _n_updates(run), count=self._count())

    def on_begin(self, run: PlannedRun) -> None:
        """Show a run."""
        self._run, self._rows = run, []
        self._bars.reset(
            self._current, total=_n_updates(run), description=run.run_id, count="starting"
        )

    def on_reply(self, phase: str, arrived: int, asked: int) -> None:
        """Show the reply of a client."""
        del arrived, asked
        if phase == "train" and self._run is not None:
            self._bars.advance(self._current)
            self._bars.advance(self._whole)

    def on_round(self, row: RoundRow) -> None:
        """Show a round."""
        assert self._run is not None
        self._rows.append(row)
        text = f"round {row.round} of {self._run.settings.rounds}, {format_percent(row.accuracy)}"
        self._bars.update(self._current, count=text)
        # A round may be shorter than the time from one drawing to the next.
        self._bars.refresh()

    def on_end(self, run: PlannedRun, reason: str | None) -> None:
        """Say what came out."""
        self._n_done += 1
        self._bars.update(self._whole, count=self._count())
        outcome = f"failed: {reason}" if reason is not None else _outcome(self._rows)
        self._say(f"{self._count()} {run.run_id}: {outcome}")

    def _count(self) -> str:
        return f"{self._n_done} of {len(self._study.runs)} runs"

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _n_updates(run: PlannedRun) -> int:
    return run.settings.rounds * run.settings.cohort_size


def _outcome(rows: list[RoundRow]) -> str:
    """State accuracy and ratios of a run."""
    totals = Totals.of(rows)
    return (
        f"accuracy {format_percent(totals.accuracy)}, "
        f"uplink {format_bytes(totals.uplink_packet_bytes)} "
        f"({format_ratio(totals.uplink_ratio)}), "
        f"total {format_ratio(totals.total_ratio)}, {totals.seconds:.0f} s"
    )
