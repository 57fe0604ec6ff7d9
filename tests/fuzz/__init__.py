# SPDX-License-Identifier: Apache-2.0
"""Fuzzing of what is parsed in Python: packets, states, files, replies, models on their way down.

    PYTHONPATH=tests .venv/bin/python -m fuzz packet --seconds 60

Each target is a module with ``run(data)``, which returns, or raises for a finding; the exceptions
that the package documents are none. `inputs` says how bytes become structure, `__main__` where they
come from. ``corpus/`` holds inputs to begin with, which `make_corpus` writes, and those that once
were findings, reduced and called ``finding_`` and what it was; `test_replay` runs them all.
"""

from __future__ import annotations

TARGETS = ("packet", "saved_state", "container", "checkpoint", "replies", "downlink")
