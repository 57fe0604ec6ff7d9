# SPDX-License-Identifier: Apache-2.0
"""Whole models: the same codec for trained weights, to store them or to send them once.

`compress_model` and `decompress_model` are the two ends; `search` finds the coarsest settings that
cost no accuracy, as the paper does [1]_; `fold_batch_norm` takes out what need not be sent.

References
----------
.. [1] S. Wiedemann et al., "DeepCABAC: A Universal Compression Algorithm for Deep Neural Networks",
   IEEE J. Sel. Topics Signal Process. 14(4), 2020.
"""

from fl_deepcabac.models.batch_norm import fold_batch_norm
from fl_deepcabac.models.compressed import CompressedModel, compress_model, decompress_model
from fl_deepcabac.models.search import search
from fl_deepcabac.models.search_result import SearchError, SearchPoint, SearchResult

__all__ = [
    "CompressedModel",
    "SearchError",
    "SearchPoint",
    "SearchResult",
    "compress_model",
    "decompress_model",
    "fold_batch_norm",
    "search",
]
