# SPDX-License-Identifier: Apache-2.0
"""Settings by quality: `CodecConfig.auto` and the ``--quality`` of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import complaint

import fl_deepcabac as dc
from fl_deepcabac.cli import main
from fl_deepcabac.cli.arguments import build_parser, codec_config_of
from fl_deepcabac.container import read_container

QUALITIES = ("near-lossless", "balanced", "smallest")


@pytest.mark.parametrize(
    ("quality", "relative_step", "alone", "profile"),
    [
        ("near-lossless", 1.0, 0.1, "fast"),
        ("balanced", 6.0, 0.5, "fast"),
        ("smallest", 12.0, 1.0, "max"),
    ],
)
def test_qualities_are_those_of_the_decision(
    quality: Any, relative_step: float, alone: float, profile: Any
) -> None:
    expected = dc.CodecConfig(relative_step=relative_step, profile=profile)
    assert dc.CodecConfig.auto(quality) == expected
    without = dc.CodecConfig(relative_step=alone, profile=profile, error_feedback=False)
    assert dc.CodecConfig.auto(quality, error_feedback=False) == without


def test_balanced_is_what_is_meant_without_a_quality() -> None:
    assert dc.CodecConfig.auto() == dc.CodecConfig.auto("balanced")


def test_other_settings_win() -> None:
    config = dc.CodecConfig.auto("smallest", profile="fast", threads=4, step_overrides={"*": 0.5})
    assert (config.relative_step, config.profile, config.threads) == (12.0, "fast", 4)
    assert config.step_overrides == (("*", 0.5),)


@pytest.mark.parametrize(
    "name", ["step", "relative_step", "target_bits_per_weight", "target_bytes"]
)
def test_a_quality_leaves_no_room_for_steps_and_targets(name: str) -> None:
    with pytest.raises(dc.ConfigError, match=f"expected no {name} beside it") as caught:
        dc.CodecConfig.auto("smallest", **{name: 1})
    assert caught.value.field == "quality"
    assert dc.CodecConfig.auto("smallest", **{name: None}).relative_step == 12.0


@pytest.mark.parametrize("quality", ["best", "", None, 3])
def test_other_qualities_are_refused(quality: Any) -> None:
    with pytest.raises(dc.ConfigError, match="one of near-lossless, balanced, smallest"):
        dc.CodecConfig.auto(quality)


@pytest.mark.parametrize("quality", QUALITIES)
def test_qualities_keep_what_their_names_promise_of_one_update(quality: Any) -> None:
    rng = np.random.default_rng(0)
    update = {"w": rng.laplace(0, 0.01, (200, 300)).astype(np.float32)}
    config = dc.CodecConfig.auto(quality, error_feedback=False)
    report = dc.UpdateEncoder(dc.Schema.from_arrays(update), config).encode(update).report
    share = (report.rmse or 0) / float(np.sqrt(np.mean(np.square(update["w"], dtype=float))))
    low, high = {"near-lossless": (0, 0.05), "balanced": (0.05, 0.2), "smallest": (0.2, 0.4)}[
        quality
    ]
    assert low < share < high


@pytest.mark.parametrize("quality", QUALITIES)
def test_compress_takes_the_steps_of_a_single_update(
    quality: Any, npz: Path, tmp_path: Path
) -> None:
    target = tmp_path / "x.dcbc"
    assert main(["compress", str(npz), str(target), "--quality", quality]) == 0
    config, expected = read_container(target)[2], dc.CodecConfig.auto(quality, error_feedback=False)
    assert config.relative_step == expected.relative_step
    assert config.profile == expected.profile


def test_compress_without_a_quality_is_balanced(npz: Path, tmp_path: Path) -> None:
    plain, balanced = tmp_path / "a", tmp_path / "b"
    assert main(["compress", str(npz), str(plain)]) == 0
    assert main(["compress", str(npz), str(balanced), "--quality", "balanced"]) == 0
    assert plain.read_bytes() == balanced.read_bytes()


def test_a_given_profile_wins_over_that_of_the_quality(npz: Path, tmp_path: Path) -> None:
    argv = ["compress", str(npz), str(tmp_path / "x"), "--quality", "smallest"]
    assert main([*argv, "--profile", "fast"]) == 0
    assert read_container(tmp_path / "x")[2].profile == "fast"


@pytest.mark.parametrize("option", ["--step", "--relative-step", "--target-bytes"])
def test_a_quality_and_a_step_are_one_too_many(
    option: str, npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ("compress", npz, tmp_path / "x", "--quality", "smallest", option, "900")
    assert "'quality': expected no " in complaint(capsys, *argv)
    assert not (tmp_path / "x").exists()


def test_an_unknown_quality_is_refused(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = complaint(capsys, "compress", npz, tmp_path / "x", "--quality", "good")
    assert "expected near-lossless, balanced or smallest, found 'good'" in text


def test_simulate_takes_a_quality() -> None:
    def config_of(*argv: str) -> dc.CodecConfig:
        return codec_config_of(build_parser().parse_args(["simulate", *argv]))

    assert config_of("--quality", "smallest") == dc.CodecConfig.auto("smallest")
    finer = config_of("--quality", "smallest", "--no-error-feedback")
    assert finer == dc.CodecConfig.auto("smallest", error_feedback=False)
    with pytest.raises(dc.ConfigError, match="quality"):
        config_of("--quality", "smallest", "--step", "3")


@pytest.mark.parametrize(
    ("option", "quantizer"),
    [("--relative-step-per-client", "stochastic"), ("--dead-zone", "deadzone")],
)
def test_what_one_quantizer_alone_takes_names_it(option: str, quantizer: str) -> None:
    arguments = build_parser().parse_args(["simulate", option, "0.7"])
    assert codec_config_of(arguments).quantizer == quantizer
    given = build_parser().parse_args(
        ["simulate", "--quantizer", "stochastic", "--dead-zone", "0.7"]
    )
    assert codec_config_of(given).quantizer == "stochastic"
