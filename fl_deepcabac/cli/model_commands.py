# SPDX-License-Identifier: Apache-2.0
"""The commands for whole models: compress, with or without a search, decompress, inspect."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from fl_deepcabac import CodecConfig
from fl_deepcabac.cli.array_files import (
    read_arrays,
    refuse_array_name,
    require_array_name,
    require_other_file,
    write_arrays,
)
from fl_deepcabac.cli.file_commands import inspect_file
from fl_deepcabac.cli.judging import judge_named
from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.models import (
    CompressedModel,
    SearchPoint,
    SearchResult,
    compress_model,
    decompress_model,
    search,
)
from fl_deepcabac.models.compressed import DEFAULT_CONFIG

__all__ = ["model"]


# Options that mean something with --search alone.
_OF_SEARCH = ("method", "tolerance", "jobs", "log")
DEFAULT_METHOD: Literal["dc-v2"] = "dc-v2"
DEFAULT_TOLERANCE = 0.1


class OptionError(DeepCabacError, ValueError):
    """An option cannot be had beside the others."""


def model(arguments: argparse.Namespace, console: Console) -> None:
    """Run one action of ``model``.

    Parameters
    ----------
    arguments : Namespace
    console : Console
        For what came of it; progress goes to standard error.
    """
    _ACTIONS[arguments.action](arguments, console)


def _compress(arguments: argparse.Namespace, console: Console) -> None:
    refuse_array_name(arguments.target)
    require_other_file(arguments.source, arguments.target)
    _require_folder(arguments.target)
    _refuse_idle(arguments)
    weights = read_arrays(arguments.source)
    importance = None if arguments.importance is None else read_arrays(arguments.importance)
    config = _config_of(arguments)
    if arguments.search is None:
        compressed = compress_model(
            weights, config, importance=importance, vector_step=arguments.vector_step
        )
    else:
        compressed = _search(arguments, weights, importance, config, console)
    compressed.save(arguments.target)
    _say(
        console,
        f"{arguments.target}: {compressed.n_bytes:,} bytes for {compressed.schema.raw_bytes:,} in "
        f"{len(compressed.schema.tensors)} tensors, ratio {compressed.ratio:.1f}, "
        f"{compressed.bits_per_weight:.3f} bits per weight",
    )


def _search(
    arguments: argparse.Namespace,
    weights: dict[str, Any],
    importance: dict[str, Any] | None,
    config: CodecConfig,
    console: Console,
) -> CompressedModel:
    """Return the smallest model within the tolerance."""
    method = arguments.method or DEFAULT_METHOD
    if arguments.log is not None:
        _require_folder(arguments.log)
        for other in (arguments.source, arguments.target):
            if arguments.log.absolute() == other.absolute():
                raise OptionError(f"--log: expected another file than {other}, found the same one")
    with judge_named(arguments.search) as evaluate, _progress() as on_point:
        result = search(
            weights,
            evaluate,
            DEFAULT_TOLERANCE if arguments.tolerance is None else arguments.tolerance,
            method,
            importance=importance,
            config=config,
            vector_step=arguments.vector_step,
            jobs=1 if arguments.jobs is None else arguments.jobs,
            log=arguments.log,
            on_point=on_point,
        )
    _show_search(result, method, console)
    return result.model


def _require_folder(path: Path) -> None:
    """Find out before hours of work whether a file can be written there."""
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OptionError(f"{path}: expected a folder that can be written to, found none")


def _refuse_idle(arguments: argparse.Namespace) -> None:
    """Refuse options that would change nothing."""
    given = [name for name in _OF_SEARCH if getattr(arguments, name) is not None]
    if arguments.search is None and given:
        raise OptionError(f"--{given[0]}: expected --search beside it, found none")
    if arguments.search is not None and arguments.rd_lambda is not None:
        raise OptionError("--rd-lambda: expected none beside --search, which finds it")


def _config_of(arguments: argparse.Namespace) -> CodecConfig:
    """Return the settings that the arguments describe."""
    rates = {
        name: getattr(arguments, name)
        for name in ("step", "relative_step", "target_bytes")
        if getattr(arguments, name) is not None
    }
    if not rates:
        rates = {"relative_step": DEFAULT_CONFIG.relative_step}
    others = {"profile": arguments.profile, "threads": arguments.threads}
    for name in ("rd_lambda", "step_overrides"):
        if getattr(arguments, name) is not None:
            others[name] = getattr(arguments, name)
    return replace(CodecConfig(**others), **{"relative_step": None, **rates})


@contextmanager
def _progress() -> Iterator[Callable[[SearchPoint], None]]:
    """Yield what to call with each point; a line on a terminal, nothing in a pipe."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("searching", total=None)

        def on_point(point: SearchPoint) -> None:
            progress.update(
                task,
                advance=1,
                description=f"{progress.tasks[0].completed + 1:.0f} evaluated; coarseness "
                f"{point.coarseness:.4g}, lambda {point.rd_lambda:.3g}: {point.n_bytes:,} bytes, "
                f"{point.accuracy:.2f} %",
            )

        yield on_point


def _show_search(result: SearchResult, method: str, console: Console) -> None:
    """Lay out the front, the point that was taken among it."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"{len(result.points)} points; before: {result.accuracy_before:.2f} %, may lose "
        f"{result.tolerance:g}",
        title_justify="left",
    )
    for title in ("S" if method == "dc-v1" else "step", "lambda", "bytes", "accuracy", ""):
        table.add_column(title, justify="right")
    for point in result.front:
        table.add_row(
            f"{point.coarseness:.4g}",
            f"{point.rd_lambda:.3g}",
            f"{point.n_bytes:,}",
            f"{point.accuracy:.2f} %",
            "taken" if point == result.point else "",
        )
    console.print(table)


def _decompress(arguments: argparse.Namespace, console: Console) -> None:
    require_array_name(arguments.target)
    require_other_file(arguments.source, arguments.target)
    compressed = CompressedModel.load(arguments.source, max_weights=arguments.max_weights)
    weights: dict[str, Any] = dict(decompress_model(compressed))
    write_arrays(arguments.target, weights)
    schema = compressed.schema
    _say(
        console, f"{arguments.target}: {len(schema.tensors)} tensors, {schema.n_elements:,} weights"
    )


def _inspect(arguments: argparse.Namespace, console: Console) -> None:
    arguments.like = None
    # How steps came about is not all in a file; the steps themselves are shown.
    inspect_file(arguments, console, shows_config=False)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


_ACTIONS: dict[str, Callable[[argparse.Namespace, Console], None]] = {
    "compress": _compress,
    "decompress": _decompress,
    "inspect": _inspect,
}
