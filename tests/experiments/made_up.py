# SPDX-License-Identifier: Apache-2.0
"""Rows and records for tests of what is made of them."""

from __future__ import annotations

import json
from typing import Any

from fl_deepcabac.experiments.rows import RoundRow
from fl_deepcabac.experiments.run_folder import RunRecord
from fl_deepcabac.experiments.settings import RunSettings

RAW_BYTES = 4_000


def make_row(**changes: Any) -> RoundRow:
    """Return a row of an uncompressed round, with changes."""
    values: dict[str, Any] = {
        "run": "uncompressed",
        "codec": "none",
        "task": "digits",
        "strategy": "fedavg",
        "seed": 0,
        "round": 1,
        "n_weights": 500,
        "clients": 2,
        "failures": 0,
        "accuracy": 0.5,
        "loss": 1.5,
        "client_accuracy": 0.6,
        "client_loss": 1.25,
        "train_loss": 2.0,
        "uplink_raw_bytes": RAW_BYTES,
        "uplink_packet_bytes": RAW_BYTES,
        "uplink_wire_bytes": RAW_BYTES + 100,
        "downlink_raw_bytes": 2 * RAW_BYTES,
        "downlink_packet_bytes": 2 * RAW_BYTES,
        "downlink_wire_bytes": 2 * RAW_BYTES + 100,
        "bits_per_weight": 32.0,
        "uplink_ratio": 1.0,
        "downlink_ratio": 1.0,
        "total_ratio": 1.0,
        "fresh_updates": 0,
        "encode_seconds": 0.0,
        "decode_seconds": 0.0,
        "seconds": 1.0,
        "layer_bytes": {"w": 3_600, "b": 400, "(header)": 0},
    }
    return RoundRow(**(values | changes))


def make_compressed_row(**changes: Any) -> RoundRow:
    """Return a row of a round that a codec made 40 times smaller, with changes."""
    values: dict[str, Any] = {
        "run": "compressed",
        "codec": "deepcabac",
        "accuracy": 0.48,
        "uplink_packet_bytes": 100,
        "uplink_wire_bytes": 200,
        "bits_per_weight": 0.8,
        "uplink_ratio": 40.0,
        "total_ratio": 12_000 / 8_100,
        "fresh_updates": 2,
        "encode_seconds": 0.004,
        "decode_seconds": 0.002,
        "layer_bytes": {"w": 50, "b": 20, "(header)": 30},
    }
    return make_row(**(values | changes))


def make_runs(*, n_rounds: int = 3) -> dict[str, list[RoundRow]]:
    """Return an uncompressed and a compressed run."""
    numbers = range(1, n_rounds + 1)
    return {
        "uncompressed": [make_row(round=number, accuracy=0.2 * number) for number in numbers],
        "compressed": [
            make_compressed_row(round=number, accuracy=0.19 * number) for number in numbers
        ],
    }


def make_config(**changes: Any) -> dict[str, Any]:
    """Return what ``config.json`` holds, with changes."""
    values: dict[str, Any] = {
        "started": "2026-01-02T03:04:05Z",
        "settings": json.loads(RunSettings(clients=2, rounds=3).to_json()),
        "training": {"local_epochs": 1, "batch_size": 8, "learning_rate": 0.1, "momentum": 0.9},
        "runs": [
            {"label": "uncompressed", "codec": "none", "codec_settings": {}},
            {"label": "compressed", "codec": "deepcabac", "codec_settings": {"relative_step": 3.0}},
        ],
        "model": [{"name": "w", "shape": [45, 10]}, {"name": "b", "shape": [50]}],
        "versions": {"python": "3.11"},
    }
    return values | changes


def make_record() -> RunRecord:
    """Return what a run folder holds."""
    return RunRecord(make_config(), make_runs())
