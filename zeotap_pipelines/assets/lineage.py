"""Which of the audience's columns each field at the destination is made of, as Dagster's column metadata."""

from __future__ import annotations

from typing import Any

import dagster as dg

from ..mapping import Kind
from ..sync import Sync


def of_diff(sync: Sync) -> dict[str, Any]:
    """Return a diff's columns: the destination's fields, each from the columns of the snapshot."""
    upstream = dg.AssetKey(["snapshots", sync.audience.name])
    return _columns(sync, {name: _from(upstream, *origin.columns) for name, origin in sync.mapping.items()})


def of_sync(sync: Sync) -> dict[str, Any]:
    """Return a sync's columns: the destination's fields, each from the field of the diff that is called the same."""
    upstream = dg.AssetKey(["diffs", sync.name])
    return _columns(sync, {name: _from(upstream, name) for name in sync.mapping})


def _from(asset: dg.AssetKey, *columns: str) -> list[dg.TableColumnDep]:
    return [dg.TableColumnDep(asset_key=asset, column_name=column) for column in dict.fromkeys(columns)]


def _columns(sync: Sync, origins: dict[str, list[dg.TableColumnDep]]) -> dict[str, Any]:
    columns = [
        dg.TableColumn(
            name,
            sync.target.kinds.get(name, Kind.TEXT).value,
            description=f"from {origin.describe()}",
            constraints=dg.TableColumnConstraints(unique=sync.identity == (name,)),
        )
        for name, origin in sync.mapping.items()
    ]
    return {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/column_lineage": dg.TableColumnLineage(deps_by_column=origins),
    }
