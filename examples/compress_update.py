# SPDX-License-Identifier: Apache-2.0
"""Compress the updates of one client over several rounds, with NumPy alone and without Flower.

A small network learns to tell clusters apart. After each round only the update, local weights minus
those the round began with, goes through the codec, and both sides go on from what the decoder saw.
Run it with ``python examples/compress_update.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import fl_deepcabac as dc

Weights = dict[str, NDArray[np.float32]]

N_FEATURES, N_HIDDEN, N_CLASSES = 64, 256, 10
N_ROUNDS, STEPS_PER_ROUND, LEARNING_RATE = 8, 20, 0.2


def make_samples(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return points around one centre per class, and their classes."""
    centres = rng.normal(0, 1, (N_CLASSES, N_FEATURES))
    labels = rng.integers(0, N_CLASSES, 1000)
    points = centres[labels] + rng.normal(0, 3, (len(labels), N_FEATURES))
    return points.astype(np.float32), labels


def predict(weights: Weights, points: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Return the hidden layer and the probability of each class."""
    hidden = np.maximum(points @ weights["hidden.weight"] + weights["hidden.bias"], 0)
    scores = hidden @ weights["out.weight"] + weights["out.bias"]
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, odds / odds.sum(axis=1, keepdims=True)


def train(weights: Weights, points: NDArray[np.float32], labels: NDArray[np.int64]) -> Weights:
    """Return the weights after some steps of gradient descent."""
    weights = {name: array.copy() for name, array in weights.items()}
    targets = np.eye(N_CLASSES, dtype=np.float32)[labels]
    for _ in range(STEPS_PER_ROUND):
        hidden, probabilities = predict(weights, points)
        error = (probabilities - targets) / np.float32(len(labels))
        hidden_error = (error @ weights["out.weight"].T) * (hidden > 0)
        gradients = {
            "hidden.weight": points.T @ hidden_error,
            "hidden.bias": hidden_error.sum(axis=0),
            "out.weight": hidden.T @ error,
            "out.bias": error.sum(axis=0),
        }
        for name, gradient in gradients.items():
            weights[name] -= np.float32(LEARNING_RATE) * gradient
    return weights


def main() -> None:
    """Train, compress, decompress, and print what each round cost."""
    rng = np.random.default_rng(0)
    points, labels = make_samples(rng)
    weights: Weights = {
        "hidden.weight": rng.normal(0, 0.1, (N_FEATURES, N_HIDDEN)).astype(np.float32),
        "hidden.bias": np.zeros(N_HIDDEN, np.float32),
        "out.weight": rng.normal(0, 0.1, (N_HIDDEN, N_CLASSES)).astype(np.float32),
        "out.bias": np.zeros(N_CLASSES, np.float32),
    }

    schema = dc.Schema.from_arrays(weights)  # both sides know the model
    config = dc.CodecConfig(relative_step=1.0)  # one step is the RMS of the update
    encoder = dc.UpdateEncoder(schema, config)  # lives on the client
    decoder = dc.UpdateDecoder(schema, config)  # lives on the server

    for number in range(1, N_ROUNDS + 1):
        trained = train(weights, points, labels)
        update = {name: trained[name] - weights[name] for name in weights}

        packet = encoder.encode(update).packet  # bytes, to be sent
        received = decoder.decode(packet)

        weights = {name: np.add(weights[name], received[name]) for name in weights}
        accuracy = np.mean(predict(weights, points)[1].argmax(axis=1) == labels)
        print(
            f"round {number}: {schema.raw_bytes:,} bytes as a packet of {len(packet):,} "
            f"(ratio {schema.raw_bytes / len(packet):.0f}), accuracy {accuracy:.1%}"
        )


if __name__ == "__main__":
    main()
