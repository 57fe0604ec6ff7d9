# SPDX-License-Identifier: Apache-2.0
"""Updates with few non-zeros, or none, against what an ideal adaptive coder needs.

Non-zeros lie without any pattern, anew in every round, so that nothing but their frequency can be
learnt. A level is four kinds of binary decision: zero or not, sign, beyond 1 or not, beyond 2 or
not. Two yardsticks, both ideal code lengths without a header:

adaptive entropy
    Each kind under its own Krichevsky-Trofimov estimator, ``p = (count + 1/2) / (total + 1)``,
    whose counts run on from round to round (warm) or begin with the round (fresh).
known entropy
    Each kind under the probabilities that the levels were drawn with.

    python benchmarks/sparse.py
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from running import encode_stream
from synthetic import Levels, make_sparse_levels, make_zero_stream, scale_levels

import fl_deepcabac as dc

MODEL = "400k"
STEP = 0.004
DENSITIES = [0.001, 0.0001]
N_ROUNDS = 8
# Rounds after which the state counts as warm.
FIRST_WARM_ROUND = 4
# Probability of yes, for each decision but the first: `synthetic.make_sparse_levels`.
KNOWN = {"negative": 0.5, "beyond 1": 0.25, "beyond 2": 0.0}
Counts = dict[str, tuple[int, int]]  # how often no and yes


def count_decisions(update: Levels) -> Counts:
    """Return how often each kind of decision went which way."""
    levels = np.concatenate([array.reshape(-1) for array in update.values()])
    sizes = Counter(np.minimum(np.abs(levels), 3).tolist())
    n_negative = int(np.count_nonzero(levels < 0))
    n_nonzero = int(np.count_nonzero(levels))
    return {
        "nonzero": (sizes[0], n_nonzero),
        "negative": (n_nonzero - n_negative, n_negative),
        "beyond 1": (sizes[1], sizes[2] + sizes[3]),
        "beyond 2": (sizes[2], sizes[3]),
    }


def estimated_bits(n_no: int, n_yes: int) -> float:
    """Return the Krichevsky-Trofimov code length of a sequence, which is that of its counts."""
    natural = math.lgamma(n_no + 0.5) + math.lgamma(n_yes + 0.5) - math.lgamma(n_no + n_yes + 1)
    return (math.log(math.pi) - natural) / math.log(2)


def adaptive_bits(counts: Counts, seen: Counts) -> float:
    """Return the code length of a round after rounds with the counts `seen`."""
    total = 0.0
    for kind, (n_no, n_yes) in counts.items():
        seen_no, seen_yes = seen.get(kind, (0, 0))
        after = estimated_bits(seen_no + n_no, seen_yes + n_yes)
        total += after - estimated_bits(seen_no, seen_yes)
    return total


def known_bits(counts: Counts, density: float) -> float:
    """Return the code length of a round under the probabilities it was drawn with."""
    total = 0.0
    for kind, (n_no, n_yes) in counts.items():
        yes = KNOWN.get(kind, density)
        total -= n_no * math.log2(1 - yes) + (n_yes * math.log2(yes) if n_yes else 0)
    return total


def add(first: Counts, second: Counts) -> Counts:
    """Return the sums of two tables of counts."""
    return {
        kind: (first.get(kind, (0, 0))[0] + no, first.get(kind, (0, 0))[1] + yes)
        for kind, (no, yes) in second.items()
    }


def ideal_bits(rounds: list[Levels], density: float) -> dict[str, tuple[float, float]]:
    """Return adaptive and known entropy of the first round, and of the mean warm round."""
    adaptive, known = [], []
    seen: Counts = {}
    for update in rounds:
        counts = count_decisions(update)
        adaptive.append(adaptive_bits(counts, seen))
        known.append(known_bits(counts, density))
        seen = add(seen, counts)
    warm = slice(FIRST_WARM_ROUND, None)
    return {
        "fresh": (adaptive[0], known[0]),
        "warm": (float(np.mean(adaptive[warm])), float(np.mean(known[warm]))),
    }


def coded_bits(rounds: list[Levels], profile: str) -> dict[str, tuple[float, float]]:
    """Return bits of packet and payload of the first round, and of the mean warm round."""
    config = dc.CodecConfig(step=STEP, quantizer="uniform", profile=profile)
    coded = encode_stream(scale_levels(rounds, STEP), config)
    packets = [8 * len(update.packet) for update in coded]
    payloads = [8 * (len(update.packet) - update.report.header_bytes) for update in coded]
    warm = slice(FIRST_WARM_ROUND, None)
    return {
        "fresh": (packets[0], payloads[0]),
        "warm": (float(np.mean(packets[warm])), float(np.mean(payloads[warm]))),
    }


def main() -> None:
    """Print the sparse updates, then the updates of zeros."""
    print("bits of one update of 400 k weights; payload against adaptive entropy in brackets")
    print(f"{'density':>8}{'state':>7}{'profile':>9}{'packet':>9}{'payload':>18}", end="")
    print(f"{'adaptive':>10}{'known':>9}")
    for density in DENSITIES:
        rounds = make_sparse_levels(MODEL, N_ROUNDS, density=density)
        ideal = ideal_bits(rounds, density)
        for profile in ("fast", "max"):
            for state, (packet, payload) in coded_bits(rounds, profile).items():
                adaptive, known = ideal[state]
                print(f"{density:8.2%}{state:>7}{profile:>9}{packet:9.0f}{payload:9.0f}", end="")
                print(f" ({payload / adaptive - 1:+6.1%}){adaptive:10.0f}{known:9.0f}")
    for profile in ("fast", "max"):
        config = dc.CodecConfig(step=STEP, profile=profile)
        zeros = encode_stream(make_zero_stream(MODEL, N_ROUNDS), config)
        sizes = ", ".join(str(len(update.packet)) for update in zeros)
        print(f"update of zeros, {profile}: packets of {sizes} bytes")


if __name__ == "__main__":
    main()
