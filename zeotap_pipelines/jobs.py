"""Dagster jobs for what a person does beside the assets, each with one op whose configuration says what."""

# No postponed annotations here: Dagster reads the types of an op's parameters.
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from pydantic import Field

from .assets.assets import RETRIED, no_retry, state
from .declared import Declared
from .delivery import pauses
from .delivery.trip import Trip
from .errors import ZeotapError
from .upkeep import by_hand, orphans
from .upkeep.connections import Finding, failed, try_connection
from .upkeep.doubts import Decision
from .upkeep.retention import sweep


class ConnectionNames(dg.Config):
    """Which connections are tested."""

    names: list[str] = Field([], description="Connections by name; none named: all of them")


class DecideConfig(dg.Config):
    """What is decided of rows in doubt."""

    sync: str = Field(description="Name of the sync")
    ids: list[str] = Field([], description="The rows' opaque ids, as `zeotap doubts` lists them")
    everything: bool = Field(False, description="All rows that are in doubt when the run is asked for, in place of ids")
    decision: str = Field(description="resend: it did not happen; was_sent: it did; drop: never ask again")
    by: str = Field(description="Who decides")
    reason: str = Field(description="Why")


class SyncName(dg.Config):
    """Which sync is meant."""

    sync: str = Field(description="Name of the sync")


class PauseConfig(SyncName):
    """Which sync is paused, by whom and why."""

    by: str = Field(description="Who pauses it")
    reason: str = Field(description="Why")


class AdoptConfig(SyncName):
    """What is adopted."""

    keys: str = Field(description="Path of a CSV file with a column per identity field")


class DecommissionConfig(dg.Config):
    """Which target is given up."""

    address: str = Field(description="service/account/kind/name, as `zeotap orphans` lists it")


class RetentionConfig(dg.Config):
    """For how many days files are kept; unset: for ever."""

    snapshots: int | None = None
    plans: int | None = None
    outcomes: int | None = None
    dry_run: bool = False


def jobs(declared: Declared) -> list[dg.JobDefinition]:
    """Return the jobs over what a project declares."""

    @dg.op
    def test_connections(context: dg.OpExecutionContext, config: ConnectionNames) -> None:
        """Test connections and what their syncs need, changing nothing."""
        with _failing(context):
            found = test_all(declared, config.names, run=context.run_id)
        wrong = [one for one in found if not one.passed]
        for one in found:
            (context.log.info if one.passed else context.log.error)(line(one))
        context.add_output_metadata({"passed": len(found) - len(wrong), "failed": len(wrong)})
        if wrong:
            raise dg.Failure("\n".join(map(line, wrong)), allow_retries=False)

    @dg.op
    def decide(context: dg.OpExecutionContext, config: DecideConfig) -> None:
        """Settle rows in doubt as a person decides."""
        with _failing(context):
            if bool(config.ids) is config.everything:
                raise dg.Failure("say which rows: ids, or everything: true", allow_retries=False)
            if config.decision not in list(Decision):
                raise dg.Failure(f"decision is one of {', '.join(Decision)}", allow_retries=False)
            said = by_hand.decide(
                declared.sync(config.sync),
                None if config.everything else config.ids,
                Decision(config.decision),
                state(),
                by=config.by,
                reason=config.reason,
                run=context.run_id,
                now=datetime.now(UTC),
                seen=requested(context.instance, context.run),
            )
        context.log.info(said)

    @dg.op
    def reassert_sync(context: dg.OpExecutionContext, config: SyncName) -> None:
        """Let a sync tell its target everything again."""
        with _failing(context):
            sync = declared.sync(config.sync)
            context.log.info(by_hand.reassert(sync, state(), run=context.run_id, now=datetime.now(UTC)))

    @dg.op
    def pause_sync(context: dg.OpExecutionContext, config: PauseConfig) -> None:
        """Let a sync send nothing until it is resumed."""
        with _failing(context):
            sync = declared.sync(config.sync)
            said = pauses.pause(sync, state(), by=config.by, reason=config.reason, now=datetime.now(UTC))
        context.log.info(said)

    @dg.op
    def resume_sync(context: dg.OpExecutionContext, config: SyncName) -> None:
        """Let a paused sync send again; the sensor going_on takes up what it owes."""
        with _failing(context):
            context.log.info(pauses.resume(declared.sync(config.sync), state()))

    @dg.op
    def adopt_keys(context: dg.OpExecutionContext, config: AdoptConfig) -> None:
        """Let keys that the service already holds count as told."""
        with _failing(context):
            sync = declared.sync(config.sync)
            said = by_hand.adopt(sync, Path(config.keys), state(), run=context.run_id, now=datetime.now(UTC))
        context.log.info(said)

    @dg.op
    def give_up(context: dg.OpExecutionContext, config: DecommissionConfig) -> None:
        """Empty a target that no sync declares any more of what was put into it."""
        with _failing(context):
            sync = orphans.find_orphan(state(), declared.syncs.values(), config.address)
            said = by_hand.decommission(sync, Trip(state(), declared.to(sync.address), context.run_id))
        context.log.info(said)

    @dg.op
    def delete_old(context: dg.OpExecutionContext, config: RetentionConfig) -> None:
        """Delete old snapshots, plans and outcomes."""
        with _failing(context):
            swept = sweep(
                state(),
                declared.syncs.values(),
                now=datetime.now(UTC),
                run=context.run_id,
                snapshots=config.snapshots,
                plans=config.plans,
                outcomes=config.outcomes,
                dry_run=config.dry_run,
            )
        context.add_output_metadata({**swept.files, "bytes": swept.bytes, "dry_run": config.dry_run})
        if swept.busy:
            context.log.warning(f"left alone, since a sync speaks to them: {', '.join(swept.busy)}")

    named = {
        "connection_tests": test_connections,
        "decide_doubts": decide,
        "reassert": reassert_sync,
        "pause": pause_sync,
        "resume": resume_sync,
        "adopt": adopt_keys,
        "decommission": give_up,
        "retention": delete_old,
    }
    return [_job(name, op) for name, op in named.items()]


def requested(instance: dg.DagsterInstance, run: dg.DagsterRun) -> datetime | None:
    """
    Return when somebody asked for *run*: it may have waited in the queue since, and for its process.

    One that Dagster began again by itself was asked for when the first was.
    """
    first = run.root_run_id if RETRIED in run.tags else None
    stats = instance.get_run_stats(first or run.run_id)
    moment = stats.enqueued_time or stats.launch_time or stats.start_time
    return datetime.fromtimestamp(moment, UTC) if moment else None


def test_all(declared: Declared, names: list[str], *, run: str) -> list[Finding]:
    """Test the connections called *names* (none: all) and the targets of their syncs."""
    found = []
    for name in names or declared.connections:
        try:
            connection = declared.connection(name)
        except ZeotapError as error:
            if name not in declared.connections:
                raise
            found.append(failed(name, "", error))
            continue
        found += try_connection(name, connection, declared.of(name), state(), run=run)
    return found


def line(finding: Finding) -> str:
    """Return a finding as one line."""
    what = f"{finding.connection}, sync {finding.sync}" if finding.sync else finding.connection
    return f"{what}: {'' if finding.passed else 'FAILED: '}{finding.says}"


def _job(name: str, op: dg.OpDefinition) -> dg.JobDefinition:
    return dg.GraphDefinition(name=name, node_defs=[op], description=op.description).to_job(
        executor_def=dg.in_process_executor
    )


@contextmanager
def _failing(context: dg.OpExecutionContext) -> Iterator[None]:
    """Turn an error that a person must mend into a failure of one sentence, which nothing begins again by itself."""
    try:
        yield
    except ZeotapError as error:
        no_retry(context)
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from None
