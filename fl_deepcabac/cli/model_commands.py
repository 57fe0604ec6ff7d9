# SPDX-License-Identifier: Apache-2.0
"""The commands for whole models: compress, with or without a search, decompress, inspect."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

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


class FunctionNameError(DeepCabacError, ValueError):
    """A function to evaluate with is not where its name says."""


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
    weights = read_arrays(arguments.source)
    importance = None if arguments.importance is None else read_arrays(arguments.importance)
    config = _config_of(arguments)
    if arguments.search is None:
        compressed = compress_model(
            weights, config, importance=importance, vector_step=arguments.vector_step
        )
        compressed.save(arguments.target)
    else:
        evaluate = find_function(arguments.search)
        with _progress() as on_point:
            result = search(
                weights,
                evaluate,
                arguments.tolerance,
                arguments.method,
                importance=importance,
                config=config,
                vector_step=arguments.vector_step,
                jobs=arguments.jobs,
                log=arguments.log,
                on_point=on_point,
            )
        compressed = result.model
        compressed.save(arguments.target)
        _show_search(result, arguments.method, console)
    _say(
        console,
        f"{arguments.target}: {compressed.n_bytes:,} bytes for {compressed.schema.raw_bytes:,} in "
        f"{len(compressed.schema.tensors)} tensors, ratio {compressed.ratio:.1f}, "
        f"{compressed.bits_per_weight:.3f} bits per weight",
    )


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


def find_function(name: str) -> Callable[..., float]:
    """Return the function that ``module:function`` names.

    Parameters
    ----------
    name : str
        The module is looked for in the current folder, too.

    Raises
    ------
    FunctionNameError
        If there is none.
    """
    module_name, _, function_name = name.removeprefix("python:").partition(":")
    if not module_name or not function_name:
        raise FunctionNameError(f"--search: expected MODULE:FUNCTION, found {name!r}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise FunctionNameError(
            f"--search: expected a module {module_name!r} that can be imported, found: {error}"
        ) from error
    finally:
        sys.path.remove(str(Path.cwd()))
    function = getattr(module, function_name, None)
    if not callable(function):
        raise FunctionNameError(
            f"--search: expected a function {function_name!r} in {module_name!r}, found none"
        )
    return function  # type: ignore[no-any-return] # what it returns is checked by the search


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
    inspect_file(arguments, console)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


_ACTIONS: dict[str, Callable[[argparse.Namespace, Console], None]] = {
    "compress": _compress,
    "decompress": _decompress,
    "inspect": _inspect,
}
