# SPDX-License-Identifier: Apache-2.0
"""docs/tasks.md: its example runs as it stands there, and its tables name what there is."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from experiments.in_process import in_process

from fl_deepcabac.experiments import settings as settings_module
from fl_deepcabac.experiments.client import load_partitioned
from fl_deepcabac.experiments.codecs import DeepCabac, Uncompressed
from fl_deepcabac.experiments.runner import run_federated
from fl_deepcabac.experiments.settings import MODEL_NAMES, TASK_NAMES, RunSettings
from fl_deepcabac.experiments.tasks import get_task
from fl_deepcabac.experiments.travelling import travelling_weights

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
NAME, MODULE = "breast-cancer", "fl_deepcabac.experiments.tasks.breast_cancer"


@pytest.fixture
def task_of_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Do what the document says: write the file, and add its name."""
    [example] = re.findall(r"^```python\n(.*?)^```", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    path = tmp_path / "breast_cancer.py"
    path.write_text(example, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, MODULE, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(settings_module, "TASK_NAMES", (*TASK_NAMES, NAME))
    load_partitioned.cache_clear()
    yield
    load_partitioned.cache_clear()


@pytest.mark.usefixtures("task_of_the_document")
@pytest.mark.parametrize("alpha", [0.5, "natural"])
def test_example_runs_with_and_without_compression(alpha: float | str) -> None:
    settings = RunSettings(task=NAME, clients=4, rounds=4, alpha=alpha)
    for codec in (Uncompressed(), DeepCabac()):
        rows = run_federated(settings, codec, engine=in_process).rows
        assert rows[-1].failures == 0
        assert rows[-1].accuracy is not None
        assert rows[-1].accuracy > 0.85
    assert rows[-1].uplink_ratio is not None
    assert rows[-1].uplink_ratio > 5


def test_example_is_short() -> None:
    [example] = re.findall(r"^```python\n(.*?)^```", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    assert example.count("\n") <= 66


def table_rows(heading: str) -> dict[str, list[str]]:
    """Return the cells of a table, by the name in its first column."""
    table = DOCUMENT.split(heading, 1)[1].split("\n\n")[0]
    lines = [line.strip("|").split("|") for line in table.splitlines() if "`" in line]
    rows = [[cell.strip() for cell in cells] for cells in lines]
    return {cells[0].strip("`").partition(":")[0]: cells for cells in rows}


def test_tasks_are_all_there_with_their_models() -> None:
    rows = table_rows("| task | samples")
    assert list(rows) == ["digits", "mnist", "fashion-mnist", "shakespeare", "flwr-datasets"]
    assert set(rows) == set(TASK_NAMES) == set(table_rows("| task | get it"))
    for name in set(TASK_NAMES) - {"flwr-datasets"}:
        own, *others = get_task(name).models
        assert rows[name][3] == f"`{own}`"
        assert rows[name][4] == ", ".join(f"`{other}`" for other in others)


def test_models_are_all_there_with_their_sizes() -> None:
    rows = table_rows("| model | |")
    assert set(rows) == set(MODEL_NAMES)
    for task in ("digits", "mnist", "shakespeare"):
        for name, build in get_task(task).models.items():
            sent = travelling_weights(build())
            n_weights = sum(
                t.numel() for key, t in sent.items() if "running_" not in key and t.dim()
            )
            cell = rows[name][2]
            assert cell.startswith(f"{len(sent)}: ")
            assert f"{n_weights:,}".replace(",", " ") in cell
