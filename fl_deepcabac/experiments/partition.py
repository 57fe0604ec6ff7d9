# SPDX-License-Identifier: Apache-2.0
"""Sharing out the training samples between clients.

Invariant: every sample belongs to exactly one client and no client is empty. Equal arguments give
equal parts on every machine.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.experiments.settings import SettingsError

__all__ = ["Parts", "dirichlet_partition", "even_partition", "partition_samples"]

Parts: TypeAlias = list[NDArray[np.int64]]


def partition_samples(
    labels: NDArray[np.integer], *, n_clients: int, alpha: float | None, seed: int
) -> Parts:
    """Share out samples with Dirichlet label skew, or evenly when `alpha` is None.

    Parameters
    ----------
    labels : ndarray, integer, shape (n,)
        Class of each sample.
    n_clients : int
        Number of parts.
    alpha : float, optional
        Concentration; small values give each client few classes.
    seed : int
        Equal seeds give equal parts.

    Returns
    -------
    list of ndarray, int64
        Sorted sample indices of each client.

    Raises
    ------
    SettingsError
        If there are fewer samples than clients.
    """
    if alpha is None:
        return even_partition(len(labels), n_clients=n_clients, seed=seed)
    return dirichlet_partition(labels, n_clients=n_clients, alpha=alpha, seed=seed)


def even_partition(n_samples: int, *, n_clients: int, seed: int) -> Parts:
    """Share out samples at random, in parts of equal size up to one (IID).

    Parameters
    ----------
    n_samples, n_clients, seed : int
        As for `partition_samples`.

    Returns
    -------
    list of ndarray, int64
        Sorted sample indices of each client.

    Raises
    ------
    SettingsError
        If there are fewer samples than clients.
    """
    _require_enough(n_samples, n_clients)
    order = np.random.default_rng([seed, n_clients]).permutation(n_samples)
    return [np.sort(part) for part in np.array_split(order, n_clients)]


def dirichlet_partition(
    labels: NDArray[np.integer], *, n_clients: int, alpha: float, seed: int
) -> Parts:
    """Share out each class between the clients in proportions drawn from Dirichlet(alpha).

    Parameters
    ----------
    labels, n_clients, alpha, seed
        As for `partition_samples`.

    Returns
    -------
    list of ndarray, int64
        Sorted sample indices of each client.

    Raises
    ------
    SettingsError
        If there are fewer samples than clients.

    Notes
    -----
    A client that the draw left empty receives one sample of the client with the most. This keeps
    every other part as drawn, where drawing again until all are served may never end.

    References
    ----------
    .. [1] T.-M. H. Hsu, H. Qi, M. Brown, "Measuring the Effects of Non-Identical Data Distribution
       for Federated Visual Classification", 2019.
    """
    _require_enough(len(labels), n_clients)
    rng = np.random.default_rng([seed, n_clients])
    owner = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(n_clients, alpha))
        ends = np.floor(np.cumsum(shares) * len(members) + 0.5).astype(np.int64)
        owner[members] = np.searchsorted(ends[:-1], np.arange(len(members)), side="right")
    _serve_empty_clients(owner, n_clients)
    return [np.flatnonzero(owner == client) for client in range(n_clients)]


def _serve_empty_clients(owner: NDArray[np.int64], n_clients: int) -> None:
    """Give every client without samples the first sample of the largest one."""
    counts = np.bincount(owner, minlength=n_clients)
    for client in np.flatnonzero(counts == 0):
        donor = int(np.argmax(counts))
        owner[np.flatnonzero(owner == donor)[0]] = client
        counts[donor] -= 1
        counts[client] += 1


def _require_enough(n_samples: int, n_clients: int) -> None:
    """Refuse more clients than samples."""
    if n_samples < n_clients:
        raise SettingsError(
            "clients",
            expected=f"at most one client per training sample ({n_samples})",
            found=n_clients,
        )
