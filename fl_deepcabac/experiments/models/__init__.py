# SPDX-License-Identifier: Apache-2.0
"""The models that tasks train, one file each, by the names in `settings.MODEL_NAMES`.

A task says what its samples look like and gets every model that can take them; the first is the
task's own. Invariant: a builder takes nothing and touches nothing but torch's generator.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from fl_deepcabac.experiments.models.convnet import ConvNet
from fl_deepcabac.experiments.models.lora import build_adapted
from fl_deepcabac.experiments.models.perceptron import Perceptron
from fl_deepcabac.experiments.models.resnet import ResNet8
from fl_deepcabac.experiments.models.transformer import CharTransformer

__all__ = ["ModelBuilder", "picture_models", "text_models"]

ModelBuilder = Callable[[], nn.Module]

# From this side on there is enough picture left to halve it twice.
POOLED_TWICE_SIDE = 16


def picture_models(*, side: int, n_classes: int, n_channels: int = 1) -> dict[str, ModelBuilder]:
    """Return the models for square pictures.

    Parameters
    ----------
    side : int
        Height and width. Unit: pixels.
    n_classes : int
        Number of classes.
    n_channels : int
        1 for gray pictures, 3 for coloured ones.

    Returns
    -------
    dict of str to callable
    """
    picture = {"side": side, "n_classes": n_classes, "n_channels": n_channels}
    return {
        "convnet": partial(ConvNet, is_pooled_twice=side >= POOLED_TWICE_SIDE, **picture),
        "mlp": partial(Perceptron, n_inputs=n_channels * side**2, n_classes=n_classes),
        "resnet8": partial(ResNet8, n_classes=n_classes, n_channels=n_channels),
    }


def text_models(*, n_characters: int, length: int) -> dict[str, ModelBuilder]:
    """Return the models that tell the next character at each position of a text.

    Parameters
    ----------
    n_characters : int
        Size of the vocabulary.
    length : int
        Longest sequence. Unit: characters.

    Returns
    -------
    dict of str to callable
    """
    return {
        "transformer": partial(CharTransformer, n_characters=n_characters, length=length),
        "lora": partial(build_adapted, n_characters=n_characters, length=length),
    }
