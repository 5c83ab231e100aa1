"""What a person sees of a snapshot, a plan and a delivery: descriptions, metadata, check results, progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from textwrap import dedent, indent
from typing import TYPE_CHECKING, Any

import dagster as dg

from ..delivery.delivery import superseded
from ..delivery.trip import Approval, Summary
from ..destinations.base import Limits
from ..diff import opposed
from ..diff.agreement import agreement
from ..diff.plan import Level, Plan, load
from ..engines.duckdb import rows
from ..errors import RepairState
from ..ledger.ledger import Ledger
from ..model import Change, Fate, Partition, Verb
from ..naming import filename, literal
from ..snapshot import Snapshot
from ..state import State
from ..upkeep.status import still_to_ask
from ..wire.limits import per_minute
from .outcome_page import outcome_files, reasons_table
from .plan_page import changed_fields, fields_table, last_plans, operations_table, plans_table

if TYPE_CHECKING:
    from .. import sync as core
    from ..components.audience import Audience

GUARDS = {
    "empty_audience": "The audience is not empty.",
    "removed_share": "No larger share of the members is removed than the sync allows.",
    "removed_number": "No more members are removed than the sync allows.",
    "added_share": "No unusual number of rows is sent.",
    "set_aside": "No unusual share of the rows is invalid or in conflict.",
    "null_keys": "Every row of the audience says who it is.",
    "identity_changed": "The identity is mapped as the target was told.",
    "stale_source": "The snapshot is fresh.",
    "odd_rows": "No row looks odd.",
    "slow_plan": "The plan is sent in few requests.",
}
"""The guards of a plan: each is a blocking check on the diff."""

AGREES = "ledger_equals_snapshot"
"""The check that only a mirror has."""

SERIOUS = 0.1
"""From this share of the rows on, what went wrong with them is no mere warning."""

OUTCOMES = {
    "everything_accepted": "The service accepted every row.",
    "nothing_deferred": "No row waits to be asked again.",
    "nothing_in_doubt": "No row waits for a person to say whether it happened.",
    AGREES: "The ledger says of every member what the snapshot says.",
}
"""The checks on a delivery."""


def describe_audience(audience: Audience) -> str:
    """Return what the snapshot's page says."""
    says = f"{audience.description.strip()}\n\n" if audience.description else ""
    every = "unpartitioned" if audience.partitions == "none" else f"{audience.partitions} from {audience.start}"
    return f"{says}The rows of audience `{audience.name}`, by {', '.join(audience.key)}, frozen; {every}."


def describe_sync(sync: core.Sync, does: str, said: str | None) -> str:
    """Return what the asset *does*: what goes where, in which mode, from which columns; after what is *said* of it."""
    fields = "\n".join(f"- `{name}` ← `{origin.describe()}`" for name, origin in sync.mapping.items())
    if other := sync.opposite:
        fields += f"\n\nWho is in audience `{other.audience.name}` too is set aside: {opposed.reason(other)}."
    return (f"{said.strip()}\n\n" if said else "") + (
        f"{does} audience `{sync.audience.name}` to {sync.address.kind.replace('_', ' ')} `{sync.address.name}` "
        f"at {sync.address.service} (account `{sync.account}`), mode **{sync.mode.value}**.\n\n{fields}"
    )


def of_snapshot(taken: Snapshot) -> dict[str, Any]:
    """Return a snapshot's metadata."""
    columns = [dg.TableColumn(name, sql_type) for name, sql_type in taken.columns.items()]
    return {
        "dagster/row_count": taken.rows,
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/uri": dg.MetadataValue.path(str(taken.path)),
        "null_keys": taken.null_keys,
        "repeated_keys": taken.repeated_keys,
        "digest": taken.digest,
        "kept": taken.kept,
    }


def of_plan(plan: Plan, sync: core.Sync, limits: Limits, state: State) -> dict[str, Any]:
    """Return a plan's metadata: what would be sent, and what that costs."""
    calls = predicted_calls(plan, sync)
    # What is read comes first, what is plotted after it.
    metadata: dict[str, Any] = {
        "plan": plan.id,
        "operations": dg.MetadataValue.md(operations_table(plan, state)),
    }
    if plan.verdicts:
        verdicts = [f"- **{v.level.value}** {v.guard}: {v.message}" for v in plan.verdicts]
        metadata["guards"] = dg.MetadataValue.md("\n".join(verdicts))
    if fields := fields_table(changed_fields(plan, sync, state), plan):
        metadata["changed_fields"] = dg.MetadataValue.md(fields)
    metadata |= {
        "dagster/row_count": plan.operations,
        "audience": plan.audience,
        "told": plan.told,
        **{change.value: plan.count(change) for change in Change},
        "predicted_calls": calls,
    }
    if minute := per_minute(limits):
        metadata["predicted_minutes"] = round(calls / minute, 2)
    if limits.per_day:
        metadata["share_of_daily_budget"] = float(f"{calls / limits.per_day:.3g}")  # Of little not nothing.
    metadata |= {"set_aside": sum(plan.set_aside.values()), "refused_before": plan.refused_before}
    if before := plans_table(last_plans(plan, state)):
        metadata["last_plans"] = dg.MetadataValue.md(before)
    metadata["file"] = dg.MetadataValue.path(str(plan.file(state)))
    return metadata


def of_the_past(metadata: Mapping[str, Any], past: str) -> dict[str, Any]:
    """Return the *metadata* of a plan that sends nothing: *past* says why, as `superseded_by` does."""
    costs = ("predicted_calls", "predicted_minutes", "share_of_daily_budget")
    free = {name: value for name, value in metadata.items() if name not in costs}
    return {
        "superseded": f"{past}: nothing is sent unless it is restored",
        "superseded_by": past.removeprefix("superseded by "),
        **free,
        "predicted_calls": 0,
    }


def predicted_calls(plan: Plan, sync: core.Sync) -> int:
    """Return how many requests the plan needs at the least."""
    return sum(sync.target.calls(verb, plan.count(verb)) for verb in Verb)


def plan_line(plan: Plan) -> str:
    """Return the plan in one line."""
    parts = [f"{plan.count(verb):,} to {verb.value}" for verb in Verb if plan.count(verb)]
    stopped = f"; stopped: {'; '.join(v.message for v in plan.stopped)}" if plan.stopped else ""
    return f"plan {plan.id}: {', '.join(parts) or 'nothing is owed'} of {plan.audience:,} rows{stopped}"


def superseded_by(sync: core.Sync, partition: Partition, state: State) -> str | None:
    """Return why nothing would be sent for *partition* unless it is restored; None where something may be."""
    if sync.target.event:
        return None
    ledger = Ledger(state, sync.target, sync.address)
    with ledger.reading() as connection:
        standing = ledger.standing(connection)
    reason = superseded(partition, standing, restore=False)
    if reason and partition.end == standing.mark:
        return f"{standing.told_last or 'an older partition'} was restored since"
    return reason


def guard_results(plan: Plan, *, blocking: bool = True) -> Iterator[dg.AssetCheckResult]:
    """
    Return a check result per guard; a stopped plan's says how to approve it.

    Where nothing would be sent anyway the guards warn and don't block.
    """
    verdicts, numbers = {verdict.guard: verdict for verdict in plan.verdicts}, _judged(plan)
    for name in GUARDS:
        verdict, metadata = verdicts.get(name), dict(numbers.get(name, {}))
        if verdict is None:
            yield dg.AssetCheckResult(passed=True, check_name=name, metadata=metadata)
            continue
        stops = blocking and verdict.level is Level.STOP
        severity = dg.AssetCheckSeverity.ERROR if stops else dg.AssetCheckSeverity.WARN
        says = verdict.message
        if verdict.level in (Level.STOP, Level.WITHHOLD):
            says += f". To send it all the same, approve plan {plan.id}: materialize syncs/{plan.sync} with `launchpad`"
            # A block of code by its indentation: "Copy" of the UI copies fences too, which are no YAML.
            metadata["launchpad"] = dg.MetadataValue.md(indent(approval_config(plan), "    "))
        yield dg.AssetCheckResult(passed=False, check_name=name, severity=severity, description=says, metadata=metadata)


def _judged(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the number that a guard looks at, for Dagster to plot: also where it passes."""
    removed, told = plan.count(Verb.REMOVE), plan.told
    shares = {"removed_share": removed, "added_share": plan.operations - removed}
    return {
        "empty_audience": {"audience": plan.audience},
        **({name: {"percent": round(100 * count / told, 2)} for name, count in shares.items()} if told else {}),
        "removed_number": {"removed": removed},
        "set_aside": {"rows": sum(plan.set_aside.values())},
        "null_keys": {"rows": plan.null_keys},
    }


def approval_config(plan: Plan) -> str:
    """Return the run configuration that approves *plan*, to be completed by who approves."""
    return dedent(f"""\
        ops:
          syncs__{plan.sync}:
            config:
              approve: "{plan.id}"
              approved_by: ""
              reason: ""
        """)


def of_summary(summary: Summary, sync: core.Sync, state: State, run: str, approval: Approval | None) -> dict[str, Any]:
    """Return a delivery's metadata."""
    everything = summary.asked + summary.left + summary.withheld
    files, plan = outcome_files(sync.name, summary, run, state), None
    with suppress(RepairState):  # What was delivered is told all the same.
        plan = load(state, sync.name, summary.partition, summary.plan)
    metadata: dict[str, Any] = {"plan": summary.plan}
    if reasons := reasons_table(summary, files, event=sync.target.event):
        metadata["reasons"] = dg.MetadataValue.md(reasons)
    if summary.error:
        metadata["ended_by"] = str(summary.error)
    metadata |= {
        **({"audience": plan.audience, **{change.value: plan.count(change) for change in Change}} if plan else {}),
        **({"set_aside": sum(plan.set_aside.values())} if plan else {}),
        "asked": summary.asked,
        "requests": summary.calls,
        "not_asked": summary.left,
        "withheld": summary.withheld,
        "seconds": round(summary.seconds, 2),
        "rows_per_second": round(summary.asked / summary.seconds, 1) if summary.seconds else 0.0,
        "completion": round(summary.asked / everything, 4) if everything else 1.0,
        **{fate.value: summary.fates[fate] for fate in Fate},
    }
    if files:
        # Each attempt has a file of its own, and a large one several.
        pattern = files[0].with_name(f"{filename(run)}.*.parquet")
        metadata["outcomes"] = dg.MetadataValue.path(str(files[0] if len(files) == 1 else pattern))
    if sync.target.notes:
        metadata["notes"] = dg.MetadataValue.md("\n".join(f"- {note}" for note in sync.target.notes))
    if approval:
        metadata |= {"approved_by": approval.by, "approval_reason": approval.reason}
    return metadata


def standing(sync: core.Sync, state: State) -> dict[str, Any]:
    """Return where the target stands: its address, how often its ledger moved, its rows told and in doubt."""
    ledger = Ledger(state, sync.target, sync.address)
    with ledger.reading() as connection:
        count = "SELECT count(*) FILTER (state = 'in'), count(*) FILTER (state = 'doubt') FROM told"
        [(holds, doubts)] = rows(connection, count)
        return {
            "address": str(sync.address),
            "generation": ledger.standing(connection).generation,
            "told": holds,
            **({"doubts": doubts} if sync.target.event else {}),
        }


def summary_line(summary: Summary) -> str:
    """Return a delivery in one line."""
    fates = ", ".join(f"{count:,} {fate.value.replace('_', ' ')}" for fate, count in summary.fates.items() if count)
    left = f"; {summary.left:,} not asked" if summary.left else ""
    held = f"; {summary.withheld:,} removals withheld" if summary.withheld else ""
    error = f"; {type(summary.error).__name__}: {summary.error}" if summary.error else ""
    why = "".join(f" ({reason})" for (_, reason), _ in summary.reasons.most_common(1))
    nothing = "nothing was asked" if left or held or error else "nothing was owed"
    return f"{fates or nothing}{why}{left}{held} in {summary.seconds:.1f} s{error}"


def outcome_results(
    sync: core.Sync, state: State, partitions: Sequence[Partition], summary: Summary | None = None
) -> Iterator[dg.AssetCheckResult]:
    """
    Return what the checks on a delivery say: what the ledger knows now, so that asking nothing mends nothing.

    *partitions* are those that one run delivered, each by itself, the newest last. Reasons are those of
    *summary*, where this very run heard them.
    """
    keys = ", ".join(literal(partition.occasion) for partition in partitions)
    query = f"""
        SELECT count(*) FILTER (refused_partition IN ({keys})), count(*) FILTER (state = 'doubt'),
            count(*) FILTER (unsettled), count(*)
        FROM told
    """
    ledger = Ledger(state, sync.target, sync.address)
    with ledger.reading() as connection:
        [(rejected, doubt, deferred, known)] = rows(connection, query)
        if deferred and not sync.target.event:  # Who is not wanted any more, or only by another sync, is asked no more.
            with suppress(RepairState):  # Of plans: the next run makes them again.
                asked = still_to_ask(connection, sync, state, ledger.standing(connection), unsettled=True)
                deferred = deferred if asked is None else asked
    reasons = summary.reasons.most_common() if summary else []
    worst = "; ".join([reason for (fate, reason), _ in reasons if fate is Fate.REJECTED][:3])
    # A row that the service refuses is the row's fault: said, and no reason to hold anything up.
    yield dg.AssetCheckResult(
        passed=not rejected,
        check_name="everything_accepted",
        severity=_severity(rejected, known),
        metadata={"rows": rejected},
        description=f"{rejected:,} rows are rejected{f': {worst}' if worst else ''}" if rejected else None,
    )
    yield dg.AssetCheckResult(
        passed=not doubt,
        check_name="nothing_in_doubt",
        metadata={"rows": doubt},
        description=f"{doubt:,} rows may have happened; a person decides" if doubt else None,
    )
    if summary is not None:
        deferred = max(deferred, summary.fates[Fate.DEFERRED] + summary.left)
        known = max(known, summary.asked + summary.left)
    yield dg.AssetCheckResult(
        passed=not deferred,
        check_name="nothing_deferred",
        severity=_severity(deferred, known),
        metadata={"rows": deferred},
        description=f"{deferred:,} rows are still to be asked" if deferred else None,
    )
    if summary is not None and summary.complete and (found := agreement(sync, partitions[-1], state)):
        says = f"{found.missing:,} members are missing in the ledger, {found.too_many:,} are too many"
        yield dg.AssetCheckResult(
            passed=found.whole, check_name=AGREES, description=None if found.whole else f"{says}: reassert the sync"
        )


def _severity(some: int, of: int) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if some > SERIOUS * of else dg.AssetCheckSeverity.WARN
