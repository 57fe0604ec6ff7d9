# SPDX-License-Identifier: Apache-2.0
"""Rate, distortion and speed on recorded update streams: what `make bench` prints.

Speed is CPU time on one thread, in weights a second, and in units of what zlib level 1 and zstd
level 3 compress of the same float32 bytes in the same run.

    python benchmarks/streams.py ../shared/streams [--steps 0.003 0.006 0.012] [--profile fast]
    python benchmarks/streams.py --settings '{"quantizer": "deadzone"}'
"""

from __future__ import annotations

import argparse
import json

from rate_distortion import bd_rate
from recordings import Recording, open_recordings, parse_folder
from running import Point, run_stream, yardstick_speeds

import fl_deepcabac as dc

# Thirds of octaves, in units of the root mean square of a stream: about 0.02 to 3 bit/weight.
RELATIVE_STEPS = [0.25 * 2 ** (k / 3) for k in range(15)]
# The rate at which speeds are compared.
TYPICAL_RATE = 0.4


def print_points(points: list[Point], yardsticks: dict[str, float]) -> None:
    """Print one line a point: speeds in million weights a second, then in units of yardsticks."""
    units = "".join(f"{'x ' + name:>10}" for name in yardsticks)
    print(f"{'step':>9}{'bit/weight':>12}{'rmse':>10}{'nonzero':>9}", end="")
    print(f"{'enc Mw/s':>10}{units}{'dec Mw/s':>10}{units}")
    for point in points:
        print(f"{point.step:9.5f}{point.bits_per_weight:12.4f}", end="")
        print(f"{point.rmse:10.6f}{point.nonzero:9.4f}", end="")
        for speed in (point.encode_speed, point.decode_speed):
            print(f"{speed / 1e6:10.1f}{in_units(speed, yardsticks)}", end="")
        print()


def in_units(speed: float, yardsticks: dict[str, float]) -> str:
    """Return columns that say how often a speed holds each yardstick."""
    return "".join(f"{speed / yardstick:10.2f}" for yardstick in yardsticks.values())


def measure(recording: Recording, profile: str, arguments: argparse.Namespace) -> str:
    """Print everything about a stream and a profile; return the line of the summary."""
    yardsticks = yardstick_speeds(recording.updates)
    speeds = ", ".join(f"{name} {speed / 1e6:.1f}" for name, speed in yardsticks.items())
    print(f"\n{recording.name}, {recording.n_weights} weights, profile {profile}; Mw/s: {speeds}")
    points = [
        run_stream(
            recording.updates,
            dc.CodecConfig(step=step, profile=profile, rd_lambda=rd_lambda, **arguments.settings),
        )
        for rd_lambda in arguments.lambdas
        for step in arguments.steps or [factor * recording.rms for factor in RELATIVE_STEPS]
    ]
    print_points(points, yardsticks)
    typical = min(points, key=lambda point: abs(point.bits_per_weight - TYPICAL_RATE))
    line = f"{recording.name:30}{profile:>6}{typical.bits_per_weight:7.3f}"
    line += in_units(typical.encode_speed, yardsticks) + in_units(typical.decode_speed, yardsticks)
    ours = [(point.rmse, point.bits_per_weight) for point in points]
    for name, theirs in recording.references.items():
        try:
            difference = bd_rate(ours, theirs)
        except ValueError as error:
            print(f"no BD-rate against NNCodec, {name}: {error}")
            continue
        print(f"BD-rate against NNCodec, {name}: {difference:+.1%}")
        line += f"{difference:10.1%}"
    return line


def main() -> None:
    """Run every stream of a folder through every profile."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=float, nargs="*", help="in the units of the updates")
    parser.add_argument("--lambdas", type=float, nargs="*", default=[dc.CodecConfig().rd_lambda])
    parser.add_argument("--profile", choices=["fast", "max"], action="append")
    parser.add_argument("--settings", type=json.loads, default={}, help="more of CodecConfig, JSON")
    arguments = parse_folder(parser)
    lines = [
        measure(recording, profile, arguments)
        for recording in open_recordings(arguments.folder)
        for profile in arguments.profile or ["fast", "max"]
    ]
    print(f"\nspeeds near {TYPICAL_RATE} bit/weight; BD-rate: everything on, federated pipeline")
    print(f"{'':36}{'bit/w':>7}{'encode x zlib, zstd':>20}{'decode x zlib, zstd':>20}   BD-rates")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
