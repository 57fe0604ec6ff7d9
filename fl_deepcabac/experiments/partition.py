# SPDX-License-Identifier: Apache-2.0
"""Sharing out the training samples between clients.

Invariant: no sample belongs to two clients and no client is empty; except for natural parts, of
which there may be more than clients, every sample belongs to one. Equal arguments give equal parts
on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.experiments.settings import NATURAL, RunSettings, SettingsError
from fl_deepcabac.experiments.tasks import TaskData

__all__ = [
    "Parts",
    "dirichlet_partition",
    "even_partition",
    "natural_partition",
    "partition_samples",
    "share_out",
]

Parts: TypeAlias = list[NDArray[np.int64]]


def share_out(data: TaskData, settings: RunSettings) -> Parts:
    """Share out the training samples of a task as the settings of a run say.

    Parameters
    ----------
    data : TaskData
        The samples, and natural parts if there are any.
    settings : RunSettings
        `alpha` says how, `clients` between how many, `seed` draws.

    Returns
    -------
    list of ndarray, int64
        Sorted sample indices of each client.

    Raises
    ------
    SettingsError
        If the task cannot be shared out in that way, or not between so many clients.
    """
    alpha, task = settings.alpha, settings.task
    if alpha == NATURAL:
        if data.parts is None:
            expected = f"a number or iid, as the task {task} has no parts of its own"
            raise SettingsError("alpha", expected=expected, found=alpha)
        return natural_partition(data.parts, n_clients=settings.clients, seed=settings.seed)
    if alpha is not None and data.train.labels.ndim > 1:
        expected = f"natural or iid, as the task {task} labels sequences, not samples"
        raise SettingsError("alpha", expected=expected, found=alpha)
    return partition_samples(
        data.train.labels.numpy(),
        n_clients=settings.clients,
        alpha=None if alpha is None else float(alpha),
        seed=settings.seed,
    )


def natural_partition(parts: Sequence[NDArray[np.int64]], *, n_clients: int, seed: int) -> Parts:
    """Draw the parts that take part, one for each client.

    Parameters
    ----------
    parts : sequence of ndarray, int64
        Sample indices of each natural part.
    n_clients, seed : int
        As for `partition_samples`.

    Returns
    -------
    list of ndarray, int64
        Some of the parts, in their order.

    Raises
    ------
    SettingsError
        If there are fewer parts than clients.
    """
    if len(parts) < n_clients:
        expected = f"at most one client per part of the task's own ({len(parts)})"
        raise SettingsError("clients", expected=expected, found=n_clients)
    drawn = np.random.default_rng([seed, n_clients]).choice(len(parts), n_clients, replace=False)
    return [parts[index] for index in np.sort(drawn)]


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
