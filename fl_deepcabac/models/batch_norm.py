# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation taken into the layer before it, without any change of the architecture.

In evaluation, ``scale * (y - mean) / sqrt(variance + epsilon) + shift`` of ``y = W x + b`` is one
affine map of x. W takes the scale; what is left of the normalisation has a scale of 1, a mean of 0
and a variance of 1 - epsilon, constants that cost little, and one bias.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.errors import SchemaMismatchError

__all__ = ["fold_batch_norm"]

_PARTS = ("weight", "bias", "running_mean", "running_var")


def fold_batch_norm(
    weights: Mapping[str, NDArray[np.generic]],
    layers: Mapping[str, str],
    *,
    epsilon: float = 1e-5,
) -> dict[str, NDArray[np.generic]]:
    """Fold normalisation layers into the convolutions or linear layers before them.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Named as torch's state dicts are: ``NAME.weight`` of a layer, outputs first, and
        ``NAME.weight``, ``.bias``, ``.running_mean``, ``.running_var`` of a normalisation.
    layers : mapping of str to str
        From the name of each layer to that of the normalisation that follows it, and nothing else
        reads the layer's output: ``{"conv1": "bn1"}``.
    epsilon : float
        What the normalisation adds to the variance.

    Returns
    -------
    dict of str to ndarray
        The same names, shapes and dtypes; in evaluation the same function, up to rounding.

    Raises
    ------
    SchemaMismatchError
        If a name is missing, or the shapes do not belong together.
    """
    folded = dict(weights)
    for layer, norm in layers.items():
        scale, shift, mean, variance = (
            _vector(weights, f"{norm}.{part}", layer=layer) for part in _PARTS
        )
        kernel_name, bias_name = f"{layer}.weight", f"{layer}.bias"
        kernel = weights.get(kernel_name)
        if kernel is None or kernel.ndim < 1 or kernel.shape[0] != scale.size:
            found = "none" if kernel is None else f"shape {kernel.shape}"
            raise SchemaMismatchError(
                f"tensor {kernel_name!r}: expected {scale.size} outputs for {norm!r}, found {found}"
            )
        gain = scale / np.sqrt(variance + epsilon)
        bias = weights[bias_name].astype(np.float64) if bias_name in weights else 0.0
        shape = (-1, *[1] * (kernel.ndim - 1))
        new = {
            kernel_name: kernel.astype(np.float64) * gain.reshape(shape),
            f"{norm}.weight": np.ones_like(scale),
            f"{norm}.bias": shift + gain * (bias - mean),
            f"{norm}.running_mean": np.zeros_like(scale),
            f"{norm}.running_var": np.full_like(scale, 1 - epsilon),
        }
        if bias_name in weights:
            new[bias_name] = np.zeros_like(scale)
        folded |= {name: array.astype(weights[name].dtype) for name, array in new.items()}
    return folded


def _vector(
    weights: Mapping[str, NDArray[np.generic]], name: str, *, layer: str
) -> NDArray[np.float64]:
    """Return one vector of a normalisation."""
    if name not in weights or weights[name].ndim != 1:
        found = "none" if name not in weights else f"shape {weights[name].shape}"
        raise SchemaMismatchError(
            f"tensor {name!r}: expected a vector, to be folded into {layer!r}, found {found}"
        )
    return weights[name].astype(np.float64)
