# SPDX-License-Identifier: Apache-2.0
"""What the adaptive model that persists between rounds is worth, by itself.

The same stream is coded with the state kept and with a reset before every round, for the whole
model and for models of 20 k and 3 k weights cut out of it. Levels come from the dead-zone quantiser
and are the same both times, so that rates compare at equal error. Every byte of a packet counts.

    python benchmarks/persistence.py [../shared/streams] [--steps 0.003 0.006 0.012]
"""

from __future__ import annotations

import argparse

from recordings import Recording, cut, open_recordings, parse_folder
from running import counted_bits_per_weight, encode_stream

import fl_deepcabac as dc

STEPS = [0.003, 0.006, 0.012]
SMALL_MODELS = [20_000, 3_000]


def measure(recording: Recording, config: dc.CodecConfig) -> tuple[float, float]:
    """Return bits per weight with a reset before each round, and with the state kept."""
    reset, kept = (
        counted_bits_per_weight(
            recording.updates,
            [
                update.packet
                for update in encode_stream(recording.updates, config, keep_state=keep_state)
            ],
        )
        for keep_state in (False, True)
    )
    return reset, kept


def main() -> None:
    """Print one line a stream, size, step and profile."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=float, nargs="*", default=STEPS)
    arguments = parse_folder(parser)
    for whole in open_recordings(arguments.folder):
        print(f"\n{whole.name}: bits per weight, reset each round -> state kept")
        print(f"{'weights':>8}{'step':>9}{'fast':>29}{'max':>29}")
        for recording in (whole, *(cut(whole, n_weights) for n_weights in SMALL_MODELS)):
            for step in arguments.steps:
                print(f"{recording.n_weights:8}{step:9.4f}", end="")
                for profile in ("fast", "max"):
                    config = dc.CodecConfig(step=step, quantizer="deadzone", profile=profile)
                    reset, kept = measure(recording, config)
                    print(f"{reset:10.4f} ->{kept:8.4f} {kept / reset - 1:+7.1%}", end="")
                print()


if __name__ == "__main__":
    main()
