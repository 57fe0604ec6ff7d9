# SPDX-License-Identifier: Apache-2.0
"""The commands for runs: simulate, report.

`simulate` is the demonstration and the tool at once: settings to runs to a run folder, with live
progress. Invariant: everything that can be wrong with the input is found before the folder is
touched and the engine is started.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from fl_deepcabac.cli.arguments import (
    PROGRAM,
    codec_config_of,
    given_codec_settings,
    run_settings_of,
)
from fl_deepcabac.config import RATE_SETTINGS, CodecConfig
from fl_deepcabac.experiments.environment import quiet_environment
from fl_deepcabac.experiments.rows import RoundRow
from fl_deepcabac.experiments.settings import RunSettings

if TYPE_CHECKING:
    from fl_deepcabac.experiments.codecs import UpdateCodec
    from fl_deepcabac.experiments.progress import LiveProgress

__all__ = ["RUN_PACKAGES", "report", "require_packages", "simulate"]

_PLOT_PACKAGES = ("matplotlib", "jinja2")
RUN_PACKAGES = ("torch", "sklearn", "ray", *_PLOT_PACKAGES)


def simulate(arguments: argparse.Namespace, console: Console) -> None:
    """Run the same training without and with compression, and write a run folder.

    Parameters
    ----------
    arguments : Namespace
        Of ``simulate``.
    console : Console
        For progress, the table per round and the last line.
    """
    settings, config = run_settings_of(arguments), codec_config_of(arguments)
    require_packages(RUN_PACKAGES)
    quiet_environment()
    with console.status("loading torch, Flower and the data"):
        from fl_deepcabac.experiments.client import load_partitioned  # noqa: PLC0415 (slow to load)
        from fl_deepcabac.experiments.codecs import DeepCabac, Uncompressed  # noqa: PLC0415
        from fl_deepcabac.experiments.run_folder import (  # noqa: PLC0415
            ROWS_NAME,
            prepare_folder,
            write_config,
        )
        from fl_deepcabac.flower import DownlinkConfig  # noqa: PLC0415

        downlink = None
        if arguments.downlink_relative_step is not None:
            downlink = DownlinkConfig(relative_step=arguments.downlink_relative_step)
        elif arguments.downlink:
            downlink = DownlinkConfig()
        load_partitioned(settings)
        config = _suited(config, settings, arguments)
    codecs: dict[str, UpdateCodec] = {
        "uncompressed": Uncompressed(),
        "compressed": DeepCabac(config, downlink),
    }
    if arguments.no_baseline:
        del codecs["uncompressed"]
    name = re.sub(r"[^\w.-]+", "-", settings.task)
    folder = arguments.out or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    prepare_folder(folder)
    write_config(folder, _describe(settings, codecs))
    try:
        _run_all(settings, codecs, folder, console)
    except KeyboardInterrupt:
        left = "interrupted before a round had ended"
        if (folder / ROWS_NAME).is_file():
            left = f"interrupted; {PROGRAM} report {folder} shows the rounds that had ended"
        raise KeyboardInterrupt(left) from None
    _conclude(folder, console)


def _suited(
    config: CodecConfig, settings: RunSettings, arguments: argparse.Namespace
) -> CodecConfig:
    """Return the settings that suit the strategy, where the arguments give no rate."""
    from fl_deepcabac.experiments.strategies import build_strategy  # noqa: PLC0415 (slow to load)
    from fl_deepcabac.flower import default_config  # noqa: PLC0415

    is_given = any(getattr(arguments, name) is not None for name in RATE_SETTINGS)
    given = given_codec_settings(arguments)
    wants_feedback_settings = not arguments.error_feedback or "rd_lambda" in given
    is_by_chance = given.get("quantizer") == "stochastic"
    # Without error feedback, a quality has the finer steps that this takes; chance never has it.
    is_alone = arguments.quality is not None and not arguments.error_feedback and not is_by_chance
    if is_given or is_alone:
        return config
    suited = default_config(
        build_strategy(settings),
        arguments.quality or "balanced",
        fraction=settings.cohort_size / settings.clients,
        quantizer=given.get("quantizer", "rdoq" if wants_feedback_settings else None),
    )
    return replace(suited, **given)


def report(arguments: argparse.Namespace, console: Console) -> None:
    """Make the report of a run folder anew, or compare studies and several folders.

    Parameters
    ----------
    arguments : Namespace
        `folders` and `out`.
    console : Console
        For the table per round, or the findings.
    """
    require_packages(_PLOT_PACKAGES)
    from fl_deepcabac.cli.comparison_commands import is_comparison, report_comparison  # noqa: PLC0415

    if is_comparison(arguments.folders, arguments.out):
        report_comparison(arguments.folders, arguments.out, console)
    else:
        _conclude(arguments.folders[0], console)


def require_packages(names: tuple[str, ...]) -> None:
    """Raise if a package is absent; Flower itself would exit, others fail far into their import."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _run_all(
    settings: RunSettings, codecs: dict[str, UpdateCodec], folder: Path, console: Console
) -> None:
    """Run once per codec, in turn; rows go to the screen and the folder as they come."""
    from fl_deepcabac.experiments.page import title_of_settings  # noqa: PLC0415 (slow to load)
    from fl_deepcabac.experiments.progress import LiveProgress  # noqa: PLC0415
    from fl_deepcabac.experiments.run_folder import LOG_NAME  # noqa: PLC0415
    from fl_deepcabac.experiments.runner import SimulationError, run_federated  # noqa: PLC0415

    title = title_of_settings(asdict(settings))
    warnings: list[str] = []
    with LiveProgress(
        console, title=title, labels=list(codecs), n_rounds=settings.rounds
    ) as progress:
        for label, codec in codecs.items():
            progress.begin(label)
            try:
                result = run_federated(
                    settings,
                    codec,
                    label=label,
                    observer=_Recorder(progress, folder),
                    log_path=folder / LOG_NAME,
                )
            except SimulationError as error:
                raise SimulationError(f"{label}: {error}; more in {folder / LOG_NAME}") from error
            warnings += [f"{label}: {text}" for text in result.warnings]
    for text in warnings:
        console.print(f"warning: {text}", markup=False, style="yellow")


class _Recorder:
    """Passes what happens on to the screen, and rounds also to the folder."""

    def __init__(self, progress: LiveProgress, folder: Path) -> None:
        self._progress = progress
        self._folder = folder

    def on_reply(self, phase: str, arrived: int, asked: int) -> None:
        """Show it."""
        self._progress.on_reply(phase, arrived, asked)

    def on_round(self, row: RoundRow) -> None:
        """Keep it and show it."""
        from fl_deepcabac.experiments.run_folder import append_row  # noqa: PLC0415

        append_row(self._folder, row)
        self._progress.on_round(row)


def _conclude(folder: Path, console: Console) -> None:
    """Render the folder, show the table per round, and end with the line that sums it up."""
    from fl_deepcabac.experiments.page import render_run, title_of  # noqa: PLC0415 (slow to load)
    from fl_deepcabac.experiments.progress import round_table  # noqa: PLC0415
    from fl_deepcabac.experiments.run_folder import FIGURE_NAME, PAGE_NAME, ROWS_NAME  # noqa: PLC0415
    from fl_deepcabac.experiments.summary import headline  # noqa: PLC0415

    record = render_run(folder)
    console.print(title_of(record), markup=False, highlight=False, style="bold")
    console.print(round_table(record.runs, n_rounds=max(map(len, record.runs.values()))))
    for name in (ROWS_NAME, FIGURE_NAME, PAGE_NAME):
        console.print(f"  {folder / name}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        headline(record.runs), markup=False, highlight=False, soft_wrap=True, style="bold"
    )


def _describe(settings: RunSettings, codecs: dict[str, UpdateCodec]) -> dict[str, Any]:
    """Return what ``config.json`` holds."""
    from fl_deepcabac.experiments.client import task_of  # noqa: PLC0415 (slow to load)
    from fl_deepcabac.experiments.provenance import provenance_of  # noqa: PLC0415

    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": json.loads(settings.to_json()),
        "training": asdict(task_of(settings).plan_for(settings)),
        "runs": [
            {"label": label, "codec": codec.name, "codec_settings": codec.describe()}
            for label, codec in codecs.items()
        ],
        **provenance_of(settings),
    }
