# SPDX-License-Identifier: Apache-2.0
"""What every test has."""

from __future__ import annotations

import gc

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what has been imported out of collections: QFedAvg asks for fifty in one run."""
    del session
    gc.collect()
    gc.freeze()
