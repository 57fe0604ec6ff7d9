# SPDX-License-Identifier: Apache-2.0
"""What the paper compares DeepCABAC with, for whole models.

Quantisers: nearest of equidistant points, and weighted Lloyd. Coders of what they choose: scalar
Huffman, CSR with Huffman, bzip2, of which the smallest counts.
"""

from fl_deepcabac.experiments.model_baselines.coders import CODERS, decode, encode, entropy_bits
from fl_deepcabac.experiments.model_baselines.quantizers import (
    BaselineCoder,
    lloyd_points,
)

__all__ = [
    "CODERS",
    "BaselineCoder",
    "decode",
    "encode",
    "entropy_bits",
    "lloyd_points",
]
