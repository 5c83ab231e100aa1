"""What Dagster's event log remembers of deliveries, against what the ledger knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from ..errors import AdoptTarget
from ..state import State
from . import observability

if TYPE_CHECKING:
    from .. import sync as core


def refuse_lost_state(context: dg.AssetExecutionContext, sync: core.Sync, state: State, *, adopt: bool = False) -> None:
    """
    Raise AdoptTarget where Dagster remembers a delivery to the sync's target that the ledger doesn't, unless *adopt*.

    Missing state is not a first run: without the ledger nobody would ever be removed.
    A renamed sync has another history, so where there is no ledger at all every
    sync's is looked at. Events would happen twice: of them something must be known.
    """
    known = observability.standing(sync, state)["generation"]
    syncs = [context.asset_key]
    if not known:
        syncs = list(context.instance.get_asset_keys(prefix=list(context.asset_key.path[:-1])))
    recorded = max((_generation(context.instance, key, str(sync.address)) for key in syncs), default=0)
    if known >= recorded or (adopt and (known or not sync.target.event)):
        return
    lost = (
        f"Dagster remembers deliveries to {sync.address} that its ledger in {state.root} doesn't know "
        f"({recorded} against {known}): restore the state folder, or"
    )
    if sync.target.event:
        raise AdoptTarget(
            f"{lost} list the events that happened (zeotap adopt {sync.name} --keys FILE.csv), and then set adopt: "
            "what is not listed happens again"
        )
    raise AdoptTarget(
        f"{lost} set adopt to tell the target everything again (members who left meanwhile then stay in it)"
    )


def _generation(instance: dg.DagsterInstance, sync: dg.AssetKey, address: str) -> int:
    """Return how often the ledger of *address* had moved when *sync* last spoke of it."""
    newest = max(_records(instance, sync), key=lambda record: record[0], default=(0.0, {}))[1]
    if "address" not in newest or newest["address"].value != address:
        return 0
    return int(newest["generation"].value)


def _records(instance: dg.DagsterInstance, sync: dg.AssetKey) -> Iterator[tuple[float, Mapping[str, Any]]]:
    for record in instance.fetch_materializations(sync, limit=1).records:
        if record.asset_materialization:
            yield record.timestamp, record.asset_materialization.metadata
    for record in instance.fetch_observations(sync, limit=1).records:
        if record.asset_observation:
            yield record.timestamp, record.asset_observation.metadata
