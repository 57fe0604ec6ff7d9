# SPDX-License-Identifier: Apache-2.0
"""Sharing out samples: nothing lost, nothing doubled, nobody left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_deepcabac.experiments.partition import natural_partition, partition_samples
from fl_deepcabac.experiments.settings import SettingsError

LABELS = np.repeat(np.arange(10), 60)


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=120),
    data=st.data(),
    alpha=st.one_of(st.none(), st.floats(1e-3, 1e6)),
    seed=st.integers(0, 2**63 - 1),
)
def test_partition_gives_every_sample_to_one_client_and_each_client_some(
    labels: list[int], data: st.DataObject, alpha: float | None, seed: int
) -> None:
    n_clients = data.draw(st.integers(1, len(labels)))
    parts = partition_samples(np.array(labels), n_clients=n_clients, alpha=alpha, seed=seed)
    assert len(parts) == n_clients
    assert all(len(part) > 0 for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))


def test_partition_repeats_and_depends_on_the_seed() -> None:
    first, again, other = (
        partition_samples(LABELS, n_clients=7, alpha=0.5, seed=seed) for seed in (3, 3, 4)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def largest_class_share(alpha: float | None) -> float:
    """Return the part of its samples that a client has of its commonest class, on average."""
    parts = partition_samples(LABELS, n_clients=10, alpha=alpha, seed=0)
    return float(np.mean([np.bincount(LABELS[part]).max() / len(part) for part in parts]))


def test_small_alpha_skews_labels() -> None:
    assert largest_class_share(0.05) > 0.6
    assert largest_class_share(0.05) > largest_class_share(0.5) > largest_class_share(100.0)


def test_no_alpha_shares_out_evenly() -> None:
    parts = partition_samples(LABELS, n_clients=7, alpha=None, seed=0)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert largest_class_share(None) < 0.25


@pytest.mark.parametrize("alpha", [None, 0.5])
def test_more_clients_than_samples_is_refused(alpha: float | None) -> None:
    with pytest.raises(
        SettingsError, match=r"at most one client per training sample \(3\)"
    ) as info:
        partition_samples(np.array([0, 1, 1]), n_clients=4, alpha=alpha, seed=0)
    assert info.value.field == "clients"


def test_natural_parts_are_drawn_whole_and_in_order() -> None:
    parts = [np.arange(start, start + 5) for start in range(0, 100, 5)]
    first, again, other = (
        [part.tolist() for part in natural_partition(parts, n_clients=6, seed=seed)]
        for seed in (3, 3, 4)
    )
    assert first == again != other
    assert first == sorted(first)
    assert len({part[0] for part in first}) == 6
    assert all(part == list(range(part[0], part[0] + 5)) for part in first)
    everyone = natural_partition(parts, n_clients=20, seed=0)
    assert np.concatenate(everyone).tolist() == list(range(100))


def test_more_clients_than_natural_parts_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"at most one client per part .* \(1\), found 2"):
        natural_partition([np.arange(4)], n_clients=2, seed=0)
