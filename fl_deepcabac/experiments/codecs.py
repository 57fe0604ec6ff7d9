# SPDX-License-Identifier: Apache-2.0
"""What stands between a client's update and the server, behind one small interface.

A codec has two ends, the mods of the client and the strategy around the server's, and can say what
a round cost it. Invariant: a codec changes how updates travel, and nothing else of a run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Protocol

from flwr.clientapp.typing import Mod
from flwr.serverapp.strategy import Strategy

from fl_deepcabac.config import CodecConfig
from fl_deepcabac.experiments.gradient_squares import wanting_importance
from fl_deepcabac.experiments.settings import SettingsError
from fl_deepcabac.flower import DeepCABACStrategy, DownlinkConfig, deepcabac_mod

__all__ = ["DOWNLINK_SETTINGS", "CodecCost", "DeepCabac", "Uncompressed", "UpdateCodec"]

# A study's runs start from weights that their seed makes, not from a file.
DOWNLINK_SETTINGS: Final = tuple(
    entry.name for entry in fields(DownlinkConfig) if entry.name != "initial_model"
)
# Squares of squares leave the range of float32.
_MOST_POWER: Final = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecCost:
    """What one round cost a codec, beyond the bytes that the grid counts.

    Parameters
    ----------
    failures : int
        Updates that the server could not use, for whatever reason.
    fresh_updates : int
        Packets coded without a history.
    encode_seconds, decode_seconds : float
        Summed over the clients.
    tensor_bytes : mapping of str to int
        Bytes of the round's packets by tensor; empty if the codec cannot tell them apart.
    """

    failures: int = 0
    fresh_updates: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    tensor_bytes: Mapping[str, int] = field(default_factory=dict)


class UpdateCodec(Protocol):
    """How updates travel from the clients to the server."""

    @property
    def name(self) -> str:
        """Name of the method, as in `RoundRow.codec`."""

    def client_mods(self) -> list[Mod]:
        """Return the mods of the ClientApp, outermost first."""

    def wrap(self, strategy: Strategy) -> Strategy:
        """Return the strategy that undoes what the mods do, around the given one."""

    def round_cost(self, strategy: Strategy, server_round: int) -> CodecCost:
        """Return what a round cost the strategy that `wrap` returned."""

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""


class Uncompressed:
    """Updates travel as Flower sends them: the baseline."""

    name = "none"

    def client_mods(self) -> list[Mod]:
        """Return no mods."""
        return []

    def wrap(self, strategy: Strategy) -> Strategy:
        """Return the strategy as it is."""
        return strategy

    def round_cost(self, strategy: Strategy, server_round: int) -> CodecCost:
        """Return a cost of nothing."""
        del strategy, server_round
        return CodecCost()

    def describe(self) -> dict[str, Any]:
        """Return no settings."""
        return {}


class DeepCabac:
    """Updates travel as packets of this package.

    Parameters
    ----------
    config : CodecConfig, optional
        None takes the defaults of the package.
    downlink : DownlinkConfig, optional
        How the model travels to the clients; None sends it as Flower does.
    importance : float, optional
        Let clients weigh errors by the squared gradients of their training to this power
        (`GradientSquares`), above 0; None weighs all weights of a tensor alike.

    Raises
    ------
    SettingsError
        If `importance` is not above 0, or the quantiser weighs no errors.
    """

    name = "deepcabac"

    def __init__(
        self,
        config: CodecConfig | None = None,
        downlink: DownlinkConfig | None = None,
        importance: float | None = None,
    ) -> None:
        self.config = CodecConfig() if config is None else config
        self.downlink = downlink
        if importance is not None:
            _check_importance(importance, self.config)
        self.importance = importance

    def client_mods(self) -> list[Mod]:
        """Return the mod that encodes, and the one that asks for importance if it is wanted."""
        if self.importance is None:
            return [deepcabac_mod]
        return [deepcabac_mod, wanting_importance(self.importance)]

    def wrap(self, strategy: Strategy) -> Strategy:
        """Return the strategy that decodes before the given one aggregates."""
        return DeepCABACStrategy(strategy, self.config, downlink=self.downlink)

    def round_cost(self, strategy: Strategy, server_round: int) -> CodecCost:
        """Return what the strategy's own ledger says about the round."""
        assert isinstance(strategy, DeepCABACStrategy)
        record = strategy.communication.rounds[-1]
        assert record.server_round == server_round
        totals = record.totals("train")
        return CodecCost(
            failures=totals.failures,
            fresh_updates=totals.fresh,
            encode_seconds=totals.encode_seconds,
            decode_seconds=totals.decode_seconds,
            tensor_bytes=dict(record.uplink_tensor_bytes),
        )

    def describe(self) -> dict[str, Any]:
        """Return the settings of the codec."""
        settings: dict[str, Any] = json.loads(self.config.to_json())
        if self.importance is not None:
            settings["importance"] = self.importance
        if self.downlink is not None:
            settings |= {
                f"downlink_{name}": getattr(self.downlink, name) for name in DOWNLINK_SETTINGS
            }
        return settings


def _check_importance(importance: object, config: CodecConfig) -> None:
    """Refuse a power that is none, and a quantiser that weighs no errors."""
    is_number = isinstance(importance, int | float) and not isinstance(importance, bool)
    if not is_number or not 0 < float(str(importance)) <= _MOST_POWER:
        expected = f"a number above 0, at most {_MOST_POWER:g}"
        raise SettingsError("importance", expected=expected, found=importance)
    if config.quantizer != "rdoq":
        raise SettingsError("quantizer", expected="rdoq, with importance", found=config.quantizer)
