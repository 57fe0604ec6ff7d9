# SPDX-License-Identifier: Apache-2.0
"""The folder of a study: one folder a run, and one tidy table of all rounds.

    studies/NAME.toml       what is compared, each file that was run
    results.csv             one line a round and run: settings, codec, and what came out
    runs/ID/run.json        what was run, and how it ended; written last
    runs/ID/rounds.jsonl    one JSON object a round, with the bytes of each layer
    runs/ID/engine.log      what Flower's engine said

Invariants: a run with a `run.json` has ended, and is never run again if it ended well; one without
was interrupted, and starts anew. The table is made from the runs alone, and can be made again.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.experiments.rows import RoundRow
from fl_deepcabac.experiments.run_folder import LOG_NAME, ROWS_NAME, RunFolderError, read_rows

__all__ = [
    "RESULTS_NAME",
    "FinishedRun",
    "StudyFolder",
    "describe_rounds",
    "table_text",
]

RESULTS_NAME: Final = "results.csv"
STUDIES_NAME: Final = "studies"
RUNS_NAME: Final = "runs"
RUN_NAME: Final = "run.json"
LOCK_NAME: Final = ".lock"
_FINISHED, _FAILED = "finished", "failed"
# Of a run, besides its settings, in the order of the table.
_ABOUT: Final = ("run_id", "case", "label", "codec_settings")


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended.

    Parameters
    ----------
    about : dict
        ``run_id``, ``case``, ``label``, ``settings``, ``codec``, ``codec_settings``, ``status``,
        ``reason``, ``plan``, ``seconds``, and what `provenance_of` returns.
    rows : list of RoundRow
        Rounds ascending; fewer than planned where the run failed.
    """

    about: dict[str, Any]
    rows: list[RoundRow]

    @property
    def is_whole(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.about["status"] == _FINISHED)


class StudyFolder:
    """Where the runs of a study are kept.

    Parameters
    ----------
    path : Path
        Made if missing.

    Raises
    ------
    RunFolderError
        If it is there and neither empty nor the folder of a study.
    OSError
        If it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path}: expected a folder, found a file")
        if path.is_dir() and any(path.iterdir()) and not self.is_one(path):
            raise RunFolderError(
                f"{path}: expected a new folder, an empty one or that of a study, found another"
            )
        self.path = path
        (path / RUNS_NAME).mkdir(parents=True, exist_ok=True)

    def keep_study(self, name: str, text: str) -> None:
        """Keep a file that describes a study, as it is run now."""
        (self.path / STUDIES_NAME).mkdir(exist_ok=True)
        write_atomically(self.path / STUDIES_NAME / f"{name}.toml", text.encode())

    def studies(self) -> list[Path]:
        """Return the files that have been run, by name."""
        return sorted((self.path / STUDIES_NAME).glob("*.toml"))

    def titles(self) -> list[str]:
        """Return what the files that have been run are called, each name once."""
        titles: dict[str, None] = {}
        for path in self.studies():
            with contextlib.suppress(OSError, ValueError):
                title = tomllib.loads(path.read_text(encoding="utf-8")).get("title")
                titles |= {str(title): None} if title else {}
        return list(titles)

    @staticmethod
    def is_one(path: Path) -> bool:
        """Say whether this is the folder of a study."""
        runs = path / RUNS_NAME
        is_begun = (runs / LOCK_NAME).is_file() or (path / STUDIES_NAME).is_dir()
        return runs.is_dir() and (is_begun or any(runs.glob(f"*/{RUN_NAME}")))

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.path / RUNS_NAME / run_id

    def log_path(self, run_id: str) -> Path:
        """Return where the engine's log of a run goes."""
        return self.run_folder(run_id) / LOG_NAME

    def status(self, run_id: str) -> str | None:
        """Return whether a run has finished or failed; None where it has not ended, or not begun.

        A run is known by the digest at the end of its id: names and labels may have changed.
        """
        run = self._read(self._kept_as(run_id))
        return None if run is None else str(run.about["status"])

    def has_finished(self, run_id: str) -> bool:
        """Whether a run has come to its end, in this or an earlier process."""
        return self.status(run_id) == _FINISHED

    def relabel(self, run_id: str, *, case: str, label: str) -> None:
        """Let a run that has ended be called as it is now."""
        folder = self._kept_as(run_id)
        run = self._read(folder)
        names = {"run_id": run_id, "case": case, "label": label}
        if run is None or names.items() <= run.about.items():
            return
        text = json.dumps({**run.about, **names}, indent=2, allow_nan=False)
        write_atomically(folder / RUN_NAME, f"{text}\n".encode())
        folder.rename(self.run_folder(run_id))

    def _kept_as(self, run_id: str) -> Path:
        """Return the folder of a run, also where it had another name."""
        digest = run_id.rpartition("-")[2]
        found = [self.run_folder(run_id), *(self.path / RUNS_NAME).glob(f"*-{digest}")]
        return next((folder for folder in found if folder.is_dir()), found[0])

    def begin(self, run_id: str) -> None:
        """Make room for a run; what an interrupted or failed one has left is removed."""
        folder = self.run_folder(run_id)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()

    def add_row(self, run_id: str, row: RoundRow) -> None:
        """Keep another round of a run."""
        with (self.run_folder(run_id) / ROWS_NAME).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row.to_dict(), allow_nan=False) + "\n")

    def end(self, run_id: str, about: Mapping[str, Any], *, reason: str | None = None) -> None:
        """Keep that a run has ended, well or for a reason."""
        status = _FINISHED if reason is None else _FAILED
        text = json.dumps({**about, "status": status, "reason": reason}, indent=2, allow_nan=False)
        write_atomically(self.run_folder(run_id) / RUN_NAME, f"{text}\n".encode())
        self.write_results()

    def runs(self) -> Iterator[FinishedRun]:
        """Yield all runs that have ended, by id.

        Raises
        ------
        RunFolderError
            If a file does not hold what it should.
        """
        for folder in sorted((self.path / RUNS_NAME).iterdir()):
            if (run := self._read(folder)) is not None:
                yield run

    def _read(self, folder: Path) -> FinishedRun | None:
        if not (folder / RUN_NAME).is_file():
            return None
        try:
            about = json.loads((folder / RUN_NAME).read_text(encoding="utf-8"))
            missing = {*_ABOUT, "settings", "status"} - about.keys()
        except (ValueError, AttributeError) as error:
            raise RunFolderError(f"{folder / RUN_NAME}: expected JSON, found: {error}") from None
        if missing:
            raise RunFolderError(f"{folder / RUN_NAME}: expected {sorted(missing)[0]}, found none")
        rows = read_rows(folder / ROWS_NAME) if (folder / ROWS_NAME).is_file() else []
        return FinishedRun(about, sorted(rows, key=lambda row: row.round))

    def write_results(self) -> None:
        """Write the table of all rounds of all runs that came to their end."""
        whole = (run for run in self.runs() if run.is_whole)
        write_atomically(self.path / RESULTS_NAME, table_text(whole).encode())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from working on the same study.

        Raises
        ------
        RunFolderError
            If one does.
        """
        try:
            import fcntl  # noqa: PLC0415 (not on Windows)
        except ImportError:
            yield
            return
        with (self.path / RUNS_NAME / LOCK_NAME).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunFolderError(
                    f"{self.path}: expected no other process at work on this study, found one"
                ) from None
            yield


def describe_rounds(run: FinishedRun) -> Iterator[dict[str, Any]]:
    """Yield one flat dict a round: what the run was, then what came out of the round."""
    about = {name: run.about[name] for name in _ABOUT}
    about["codec_settings"] = json.dumps(about["codec_settings"], sort_keys=True)
    for row in run.rows:
        values = row.to_dict()
        layers = [name for name in values if name.startswith("layer_bytes/")]
        for name in (*layers, "run"):
            del values[name]
        # Those of the settings are all clients.
        values["clients_asked"] = values.pop("clients")
        yield {**about, **run.about["settings"], **values}


def table_text(runs: Iterable[FinishedRun]) -> str:
    """Return the tidy table as CSV; a value that is not there is empty."""
    lines = [line for run in runs for line in describe_rounds(run)]
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
