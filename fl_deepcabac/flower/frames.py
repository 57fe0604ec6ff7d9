# SPDX-License-Identifier: Apache-2.0
"""The ledger as pandas data frames: a row per transfer, per phase of a round, or per node.

Invariant: columns and dtypes depend on neither the rows nor their number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from fl_deepcabac.flower.extras import needs_extra
from fl_deepcabac.flower.ledger import Coding, CommunicationLedger, Phase, Totals, Transfer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FrameRows", "ledger_frame"]

FrameRows = Literal["transfer", "round", "node"]

Row = dict[str, Any]
# Beside these, what ends in seconds or ratio is a float, and everything else a count.
_DTYPES = {"node_id": "uint64", "bits_per_weight": "Float64", "failure": "string"}
_CATEGORIES = {"phase": get_args(Phase), "coding": get_args(Coding)}
_TOTALS = tuple(Totals.of([]).to_dict())


def ledger_frame(ledger: CommunicationLedger, by: FrameRows = "transfer") -> pd.DataFrame:
    """Return the ledger as a data frame; see `CommunicationLedger.to_dataframe`.

    Parameters
    ----------
    ledger : CommunicationLedger
    by : {"transfer", "round", "node"}

    Returns
    -------
    DataFrame

    Raises
    ------
    ModuleNotFoundError
        Without the extra ``pandas``.
    ValueError
        If `by` is something else.
    """
    if by == "transfer":
        return _frame(ledger.to_dicts(), [field.name for field in fields(Transfer)])
    if by == "round":
        return _frame(_round_rows(ledger), ["server_round", "phase", *_TOTALS])
    if by == "node":
        rows = [_totals_row(own, node_id=node_id) for node_id, own in ledger.nodes.items()]
        return _frame(rows, ["node_id", *_TOTALS])
    raise ValueError(f"by: expected one of {', '.join(get_args(FrameRows))}, found {by!r}")


def _round_rows(ledger: CommunicationLedger) -> Iterable[Row]:
    """Yield the totals of every phase that has had messages."""
    for record in ledger.rounds:
        for phase in get_args(Phase):
            totals = record.totals(phase)
            if totals.messages:
                yield _totals_row(totals, server_round=record.server_round, phase=phase)


def _totals_row(totals: Totals, **keys: object) -> Row:
    """Return sums with what they are sums of; where no packet came, it had no rate."""
    row = {**keys, **totals.to_dict()}
    if not totals.warm + totals.fresh:
        row["bits_per_weight"] = None
    return row


def _frame(rows: Iterable[Row], columns: list[str]) -> pd.DataFrame:
    """Make a frame with a dtype for each column."""
    with needs_extra("pandas"):
        import pandas as pd  # noqa: PLC0415 (an extra)
    dtypes: dict[str, Any] = {
        name: _DTYPES.get(name, "float64" if name.endswith(("_seconds", "ratio")) else "int64")
        for name in columns
    }
    for name in _CATEGORIES.keys() & dtypes.keys():
        dtypes[name] = pd.CategoricalDtype(_CATEGORIES[name])
    return pd.DataFrame(list(rows), columns=columns).astype(dtypes)
