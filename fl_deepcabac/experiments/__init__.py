# SPDX-License-Identifier: Apache-2.0
"""Simulated federated training with and without the codec (extra: experiments).

One run is a pure function of its settings and its codec, `runner.run_federated`. Around it stand
the tasks (`tasks/`), how samples are shared out (`partition`), what is recorded per round (`rows`),
and what is made of the rows (`run_folder`, `plots`, `page`). Importing this package imports neither
torch nor flwr; its modules do.
"""

from __future__ import annotations

from fl_deepcabac.experiments.rows import RoundRow
from fl_deepcabac.experiments.settings import RunSettings, SettingsError

__all__ = ["RoundRow", "RunSettings", "SettingsError"]
