# SPDX-License-Identifier: Apache-2.0
"""From what is known of a round to its row.

Bytes come from the grid, which counts every codec alike; what only a codec knows comes from the
codec. Invariant: the layers of a row add up to its uplink packet bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from flwr.app import MetricRecord

from fl_deepcabac.experiments.codecs import CodecCost
from fl_deepcabac.experiments.rows import HEADER_LAYER, RoundRow, finite, quotient
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.training import Verdict
from fl_deepcabac.flower.ledger import RoundRecord

__all__ = ["RoundFacts", "make_row"]


@dataclass(frozen=True, kw_only=True)
class RoundFacts:
    """What is known of a round once it is over.

    Parameters
    ----------
    traffic : RoundRecord
        What the grid counted.
    cost : CodecCost
        What the codec says.
    verdict : Verdict
        On the new global model, by the server.
    train_metrics, client_metrics : MetricRecord
        Reported by the clients from training, and from judging the new model.
    n_weights : int
        Elements of the model.
    seconds : float
        Duration of the round.
    """

    traffic: RoundRecord
    cost: CodecCost
    verdict: Verdict
    train_metrics: MetricRecord
    client_metrics: MetricRecord
    n_weights: int
    seconds: float


def make_row(settings: RunSettings, facts: RoundFacts, *, label: str, codec: str) -> RoundRow:
    """Put together the row of a round.

    Parameters
    ----------
    settings : RunSettings
        Of the run.
    facts : RoundFacts
        Of the round.
    label, codec : str
        Of the run, and of what its updates travelled through.

    Returns
    -------
    RoundRow
    """
    cost, train, both = facts.cost, facts.traffic.totals("train"), facts.traffic.totals()
    layer_bytes = dict(cost.tensor_bytes or facts.traffic.uplink_tensor_bytes)
    layer_bytes[HEADER_LAYER] = both.uplink_packet_bytes - sum(layer_bytes.values())
    return RoundRow(
        run=label,
        codec=codec,
        task=settings.task,
        strategy=settings.strategy,
        seed=settings.seed,
        round=facts.traffic.server_round,
        n_weights=facts.n_weights,
        clients=train.messages,
        failures=max(train.failures, cost.failures),
        accuracy=finite(facts.verdict.accuracy),
        loss=finite(facts.verdict.loss),
        client_accuracy=_metric(facts.client_metrics, "accuracy"),
        client_loss=_metric(facts.client_metrics, "loss"),
        train_loss=_metric(facts.train_metrics, "train-loss"),
        uplink_raw_bytes=both.uplink_raw_bytes,
        uplink_packet_bytes=both.uplink_packet_bytes,
        uplink_wire_bytes=both.uplink_wire_bytes,
        downlink_raw_bytes=both.downlink_raw_bytes,
        downlink_packet_bytes=both.downlink_packet_bytes,
        downlink_wire_bytes=both.downlink_wire_bytes,
        bits_per_weight=quotient(8 * both.uplink_packet_bytes, facts.n_weights * train.replies),
        uplink_ratio=quotient(both.uplink_raw_bytes, both.uplink_packet_bytes),
        downlink_ratio=quotient(both.downlink_raw_bytes, both.downlink_packet_bytes),
        total_ratio=quotient(
            both.uplink_raw_bytes + both.downlink_raw_bytes,
            both.uplink_packet_bytes + both.downlink_packet_bytes,
        ),
        fresh_updates=cost.fresh_updates,
        encode_seconds=cost.encode_seconds,
        decode_seconds=cost.decode_seconds,
        seconds=facts.seconds,
        layer_bytes=layer_bytes,
    )


def _metric(metrics: MetricRecord, name: str) -> float | None:
    """Return a scalar metric, or None where no client reported one that is finite."""
    value = metrics.get(name)
    return finite(float(value)) if isinstance(value, int | float) else None
