# SPDX-License-Identifier: Apache-2.0
"""ResNets for pictures of 32 x 32 pixels, with the tensor names of two published sets of weights.

References
----------
.. [1] K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ResNet20", "ResNet56"]

WIDTHS = (16, 32, 64)


class _Basic(nn.Module):
    """Two convolutions; the shortcut leaves out pixels and adds channels of zeros (option A)."""

    def __init__(self, n_inputs: int, n_outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, n_outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_outputs)
        self.conv2 = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_outputs)
        self.stride, self.n_more = stride, (n_outputs - n_inputs) // 2

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.bn1(self.conv1(inputs)))
        shortcut = inputs[:, :, :: self.stride, :: self.stride]
        shortcut = functional.pad(shortcut, (0, 0, 0, 0, self.n_more, self.n_more))
        return torch.relu(self.bn2(self.conv2(hidden)) + shortcut)


class ResNet20(nn.Module):
    """Three stages of three basic blocks, 269 722 weights without statistics [1]_."""

    def __init__(self, *, n_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(_Basic, WIDTHS[0], WIDTHS[0], n_blocks=3, stride=1)
        self.layer2 = _stage(_Basic, WIDTHS[0], WIDTHS[1], n_blocks=3, stride=2)
        self.layer3 = _stage(_Basic, WIDTHS[1], WIDTHS[2], n_blocks=3, stride=2)
        self.linear = nn.Linear(WIDTHS[2], n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the class scores, shape (n, n_classes), of pictures, (n, 3, 32, 32)."""
        hidden = torch.relu(self.bn1(self.conv1(images)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        scores: torch.Tensor = self.linear(hidden.mean(dim=(2, 3)))
        return scores


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1; where the shape changes, the shortcut is a convolution, too."""

    expansion = 4

    def __init__(self, n_inputs: int, n_outputs: int, stride: int) -> None:
        super().__init__()
        width = n_outputs // self.expansion
        self.conv1 = nn.Conv2d(n_inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, n_outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_outputs)
        self.downsample: nn.Module | None = None
        if n_inputs != n_outputs or stride != 1:
            projection = nn.Conv2d(n_inputs, n_outputs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(n_outputs))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.bn1(self.conv1(inputs)))
        hidden = torch.relu(self.bn2(self.conv2(hidden)))
        shortcut = inputs if self.downsample is None else self.downsample(inputs)
        return torch.relu(self.bn3(self.conv3(hidden)) + shortcut)


class ResNet56(nn.Module):
    """Three stages of six bottlenecks, for 100 classes."""

    def __init__(self, *, n_classes: int = 100) -> None:
        super().__init__()
        wide = [width * _Bottleneck.expansion for width in WIDTHS]
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(_Bottleneck, WIDTHS[0], wide[0], n_blocks=6, stride=1)
        self.layer2 = _stage(_Bottleneck, wide[0], wide[1], n_blocks=6, stride=2)
        self.layer3 = _stage(_Bottleneck, wide[1], wide[2], n_blocks=6, stride=2)
        self.fc = nn.Linear(wide[2], n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the class scores, shape (n, n_classes), of pictures, (n, 3, 32, 32)."""
        hidden = torch.relu(self.bn1(self.conv1(images)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        scores: torch.Tensor = self.fc(hidden.mean(dim=(2, 3)))
        return scores


def _stage(
    block: type[_Basic | _Bottleneck], n_inputs: int, n_outputs: int, *, n_blocks: int, stride: int
) -> nn.Sequential:
    """Return blocks of equal width, of which the first halves the picture."""
    first = block(n_inputs, n_outputs, stride)
    return nn.Sequential(first, *(block(n_outputs, n_outputs, 1) for _ in range(n_blocks - 1)))
