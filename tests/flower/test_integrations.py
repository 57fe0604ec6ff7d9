# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/integrations.md, run from the document."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
from flower.four_nodes import N_NODES, fedavg
from flower.inprocess_grid import InProcessGrid
from flower.toy import EXACT, initial_arrays, make_app

from fl_deepcabac.flower import DeepCABACStrategy

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "integrations.md"
EXTRAS = {"MLflowLogger": "mlflow", "WandbLogger": "wandb", "TensorBoardLogger": "tensorboard"}


def examples() -> list[str]:
    text = DOCUMENT.read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def run_example(text: str) -> DeepCABACStrategy:
    strategy = DeepCABACStrategy(fedavg(fraction_evaluate=1.0, min_evaluate_nodes=N_NODES), EXACT)
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    exec(compile(text, str(DOCUMENT), "exec"), locals() | {"arrays": initial_arrays()})
    return strategy


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("text", examples(), ids=lambda text: textwrap.shorten(text, 60))
def test_example_runs(
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, package in EXTRAS.items():
        if name in text:
            pytest.importorskip(
                package, reason=f"an extra of the package: pip install 'fl-deepcabac[{package}]'"
            )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    strategy = run_example(text)
    assert strategy.communication.totals.failures == 0
    assert strategy.communication.rounds[-1].server_round == (4 if "load" in text else 2)
    assert not any("lost its values" in row.getMessage() for row in caplog.records)
    if "JsonLinesLogger" in text:
        lines = Path("rounds.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["server_round"] for line in lines] == [1, 1, 2, 2]
        assert list(Path("runs/tensorboard").iterdir())
    if "print(" in text:
        assert capsys.readouterr().out


def test_document_has_an_example_of_each() -> None:
    joined = "\n".join(examples())
    for name in ("TensorBoard", "MLflow", "Wandb", "JsonLines"):
        assert f"{name}Logger(" in joined
    for call in ("to_dataframe(", "strategy.save(", "strategy.load("):
        assert call in joined
