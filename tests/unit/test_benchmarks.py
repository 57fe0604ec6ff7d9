# SPDX-License-Identifier: Apache-2.0
"""The committed ledger of packet sizes, and the arithmetic that the benchmarks' figures rest on."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import fl_deepcabac as dc

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_packet_sizes_are_the_committed_ones() -> None:
    ledger = module("size_ledger")
    found = ledger.make_ledger().splitlines()
    expected = ledger.PATH.read_text(encoding="utf-8").splitlines()
    differences = [f"-{line}" for line in expected if line not in found]
    differences += [f"+{line}" for line in found if line not in expected]
    message = "\n".join(differences)
    assert found == expected, (
        f"packet sizes moved; if that is meant, run make bench-sizes and say why in the commit\n"
        f"{message}"
    )


def test_synthetic_streams_are_the_same_everywhere() -> None:
    update = module("synthetic").make_stream("3k", 2)[1]
    first = update["f1.weight"].reshape(-1)[:4]
    assert [value.hex() for value in first.tolist()] == [
        "0x1.9277540000000p-10",
        "0x1.36afec0000000p-10",
        "-0x1.e433560000000p-10",
        "0x1.9eeb6c0000000p-12",
    ]


@pytest.mark.parametrize("density", [0.001, 0.01])
def test_sparse_levels_have_the_density_asked_for(density: float) -> None:
    (update,) = module("synthetic").make_sparse_levels("200k", 1, density=density)
    levels = np.concatenate([array.reshape(-1) for array in update.values()])
    expected = density * levels.size
    assert abs(np.count_nonzero(levels) - expected) < 5 * math.sqrt(expected)
    assert set(np.unique(levels)) == {-2, -1, 0, 1, 2}


def test_estimated_bits_are_the_sum_over_the_decisions() -> None:
    counts, bits = [0, 0], 0.0
    for decision in [0, 0, 1, 0, 1, 0, 0, 0]:
        bits -= math.log2((counts[decision] + 0.5) / (sum(counts) + 1))
        counts[decision] += 1
    assert module("sparse").estimated_bits(*counts) == pytest.approx(bits)


def test_bd_rate_of_a_curve_scaled_in_rate_is_the_scale() -> None:
    theirs = [(0.01 * 2.0**k, 2.0 / 1.8**k) for k in range(7)]
    ours = [(rmse, 0.9 * rate) for rmse, rate in theirs]
    assert module("rate_distortion").bd_rate(ours, theirs) == pytest.approx(-0.1)


def test_a_cut_stream_keeps_its_tensors() -> None:
    recordings = module("recordings")
    whole = recordings.Recording("whole", module("synthetic").make_stream("20k", 2))
    small = recordings.cut(whole, 3000)
    assert list(small.updates[1]) == list(whole.updates[1])
    assert 2500 < small.n_weights < 4500
    first = small.updates[1]["c2.weight"]
    rows, columns, *_ = first.shape
    assert np.array_equal(first, whole.updates[1]["c2.weight"][:rows, :columns])


def test_a_rule_in_numbers_is_the_rule_by_name() -> None:
    make_config = module("allocation").make_config
    (update,) = module("synthetic").make_stream("3k", 1)
    schema = dc.Schema.from_arrays(update)
    by_name, in_numbers, others = (
        dc.compress(update, make_config(rule, 0.5, schema))
        for rule in ("size", "size:0.5:0.2", "size:0.5:0.1")
    )
    assert by_name == in_numbers != others
    assert make_config("uncompressed", 0.0, schema) is None


def test_rules_are_compared_within_the_same_budget() -> None:
    allocation = module("allocation")
    task = allocation.get_task("digits")
    plan = allocation.replace(task.plan, max_steps=2)
    setting = allocation.Setting(task, task.load_data(None), plan, 2, 1, 0.5)
    budget = int(0.1 * 151_306 / 8)
    for rule in ("uniform", "size", "sensitivity"):
        outcome = allocation.run(setting, rule, 0.1, 0)
        assert 0.8 * 2 * budget < outcome.uplink_bytes <= 2 * budget
        assert len(outcome.accuracies) == 1
    assert allocation.run(setting, "uncompressed", 0.0, 0).uplink_bytes == 2 * 4 * 151_306


def test_levels_are_read_back_from_what_the_decoder_sees() -> None:
    synthetic, running = module("synthetic"), module("running")
    rounds = synthetic.make_sparse_levels("3k", 1, density=0.2)
    config = running.dc.CodecConfig(step=0.006, quantizer="uniform")
    (coded,) = running.encode_stream(synthetic.scale_levels(rounds, 0.006), config)
    expected = np.concatenate([array.reshape(-1) for array in rounds[0].values()])
    assert np.array_equal(running.levels_of(coded), expected)


def test_published_tables_are_those_of_the_published_rounds() -> None:
    published = module("published_results")
    assert published.names() == ["fashion-mnist", "fashion-mnist-tenth"]
    assert published.DOCUMENT.read_text(encoding="utf-8") == published.document_text(), (
        "make results writes the tables anew"
    )


def test_published_runs_are_added_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = module("published_results")
    whole = published.csv_path("fashion-mnist").read_text(encoding="utf-8")
    head, *lines = whole.splitlines(keepends=True)
    run_id = lines[-1].split(",")[0]
    others = [line for line in lines if not line.startswith(run_id)]
    assert 0 < len(lines) - len(others) <= 20
    (tmp_path / "fashion-mnist.csv").write_text("".join([head, *others]), encoding="utf-8")
    (tmp_path / "more.csv").write_text(whole, encoding="utf-8")
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    for _ in range(2):
        published.add_runs("fashion-mnist", [tmp_path / "more.csv"])
        assert (tmp_path / "fashion-mnist.csv").read_text(encoding="utf-8") == whole


def test_table_of_trained_weights_is_that_of_the_published_rows() -> None:
    weights = module("real_weights")
    assert weights.DOCUMENT.read_text(encoding="utf-8") == weights.document_text()
    assert weights.read_rows()


def test_trained_weights_are_coded_at_the_error_that_is_asked_for() -> None:
    coders, rng = module("weight_coders"), np.random.default_rng(6)
    weights = {
        "w": rng.normal(0, 0.05, (60, 80)).astype(np.float32),
        "b": rng.normal(0, 9.0, 60).astype(np.float32),
    }
    # Errors are of matrices alone.
    shifted = {"w": weights["w"] + np.float32(0.01), "b": weights["b"] * 0}
    rms = float(np.sqrt(np.mean(np.square(weights["w"], dtype=np.float64))))
    assert coders.error_of(weights, shifted) == pytest.approx(0.01 / rms, rel=1e-4)
    assert coders.scale_of(weights) == pytest.approx(rms)
    for error in coders.ERRORS:
        coded = coders.ours_at(weights, "max", error)
        assert 0.99 * error < coded.error <= error
    found = {name: list(coders.measure(weights, name)) for name in coders.GENERAL}
    assert [coded.error == 0 for [(_, coded)] in found.values()] == [True, True, False]
    assert all(wanted is None for [(wanted, _)] in found.values())


def test_table_of_models_is_that_of_the_published_rows() -> None:
    tables = module("model_tables")
    assert tables.DOCUMENT.read_text(encoding="utf-8") == tables.document_text()
    assert {network for network, _ in tables.read_rows()} <= set(tables.NETWORKS)
