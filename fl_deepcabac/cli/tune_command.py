# SPDX-License-Identifier: Apache-2.0
"""The command that finds settings: ``tune``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal, get_args

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fl_deepcabac.cli.arguments import PROGRAM
from fl_deepcabac.cli.update_files import read_updates
from fl_deepcabac.config import Profile
from fl_deepcabac.tune import MAX_WEIGHTS, RELATIVE_STEPS, Tuning, tune
from fl_deepcabac.tune_goal import Goal
from fl_deepcabac.tune_points import TunePoint

__all__ = ["tune_files"]

_GOALS: tuple[Literal["ratio", "bits", "max_error"], ...] = ("ratio", "bits", "max_error")
_ASKED = {
    "ratio": "a ratio of at least {:g}",
    "bits": "at most {:g} bits per weight",
    "max_error": "a relative squared error of at most {:g}",
}
_COLUMNS = ("profile", "step", "bits/weight", "ratio", "rel. sq. error", "zeros")
_SPEEDS = ("encode Mw/s", "decode Mw/s")


def tune_files(arguments: argparse.Namespace, console: Console) -> None:
    """Measure updates at many steps, and say which settings to take.

    Parameters
    ----------
    arguments : Namespace
        Of ``tune``.
    console : Console
        For the tables or the JSON; progress goes to standard error.
    """
    given = [(name, getattr(arguments, name)) for name in _GOALS]
    goal = next((Goal(name, value) for name, value in given if value is not None), None)
    updates = read_updates(arguments.updates)
    profiles: list[Profile] = list(get_args(Profile))
    if arguments.profile is not None:
        profiles = [arguments.profile]
    with _progress(len(profiles) * len(RELATIVE_STEPS)) as on_point:
        tuning = tune(
            updates,
            goal=goal,
            profiles=profiles,
            error_feedback=arguments.error_feedback,
            max_weights=None if arguments.all_weights else MAX_WEIGHTS,
            on_point=on_point,
        )
    if arguments.json:
        described = json.dumps(_describe(tuning, goal))
        console.print_json(described, indent=2, highlight=console.is_terminal)
        return
    _show(tuning, goal, console)


@contextmanager
def _progress(n_points: int) -> Iterator[Any]:
    """Yield what to call with each point; a bar on a terminal, nothing in a pipe."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("measuring", total=n_points)

        def on_point(point: TunePoint) -> None:
            progress.advance(task)
            done = progress.tasks[0].completed
            progress.update(
                task,
                description=f"{point.profile}, step {point.relative_step:g}",
                # How many more a search takes is not known beforehand.
                total=max(n_points, done + 1),
            )

        yield on_point


def _describe(tuning: Tuning, goal: Goal | None) -> dict[str, Any]:
    """Return everything as JSON values."""
    rows = [
        {
            "name": row.name,
            "config": json.loads(row.config.to_json()),
            "point": asdict(row.point),
        }
        for row in tuning.recommendations
    ]
    return {
        **asdict(tuning),
        "goal": None if goal is None else asdict(goal),
        "recommendations": rows,
    }


def _show(tuning: Tuning, goal: Goal | None, console: Console) -> None:
    """Print the table, what is recommended, and what to beware of."""
    feedback = "without error feedback"
    if tuning.error_feedback:
        feedback = "with error feedback: what a packet leaves out, later ones bring"
    updates = "1 update" if tuning.n_updates == 1 else f"{tuning.n_updates} updates"
    console.print(
        f"{updates} of {tuning.n_weights:,} weights, figures of the last {tuning.n_counted}; "
        f"{feedback}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE_HEAD)
    _add_columns(table, (*_COLUMNS, *_SPEEDS))
    for i, point in enumerate(tuning.points):
        if i and point.profile != tuning.points[i - 1].profile:
            table.add_section()
        table.add_row(*_cells(point), *_speeds(point))
    console.print(table)
    _show_recommendations(tuning, goal, console)
    for text in tuning.cautions:
        console.print(f"caution: {text}", style="yellow", highlight=False, soft_wrap=True)


def _show_recommendations(tuning: Tuning, goal: Goal | None, console: Console) -> None:
    """Print which settings do what was asked for, or what the qualities come to."""
    if not tuning.recommendations and goal is not None:
        console.print(f"no step has {_ASKED[goal.name].format(goal.value)}", style="yellow")
        return
    if goal is None:
        title, first = "qualities", "quality"
    else:
        title, first = f"for {_ASKED[goal.name].format(goal.value)}", "for"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    _add_columns(table, (first, *_COLUMNS))
    for row in tuning.recommendations:
        table.add_row(row.name, *_cells(row.point))
    console.print(table)
    for row in tuning.recommendations:
        step, profile = f"{row.point.relative_step:g}", row.point.profile
        shown = f'CodecConfig(relative_step={step}, profile="{profile}")'
        if tuning.n_updates == 1:
            shown = f"{PROGRAM} compress ... --relative-step {step} --profile {profile}"
        console.print(f"  {row.name}: {shown}", markup=False, highlight=False, soft_wrap=True)


def _add_columns(table: Table, titles: tuple[str, ...]) -> None:
    """Add columns, the numbers among them to the right."""
    for title in titles:
        table.add_column(
            title, justify="left" if title in {"profile", "quality", "for"} else "right"
        )


def _cells(point: TunePoint) -> tuple[str, ...]:
    return (
        point.profile,
        f"{point.relative_step:g}",
        f"{point.bits_per_weight:.3f}",
        f"{point.ratio:.1f}",
        f"{point.relative_squared_error:.3g}",
        f"{100 * point.zero_share:.1f} %",
    )


def _speeds(point: TunePoint) -> tuple[str, ...]:
    return f"{point.encode_speed / 1e6:.1f}", f"{point.decode_speed / 1e6:.1f}"
