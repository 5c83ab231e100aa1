"""Commands that do what the assets do, without the UI: check, plan, sync."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..delivery.progress import WATCHER, Bar
from ..errors import FixSettings
from ..stopping import STOPPED
from . import place
from .waking import woken_by_signals

if TYPE_CHECKING:
    import dagster as dg

    from ..declared import Declared

SETTINGS = ("restore", "limit", "only", "approve", "approved_by", "reason")

MENDED = {"everything_accepted", "nothing_in_doubt", "ledger_equals_snapshot"}
"""The checks on a delivery that somebody must mend; what was put off goes on by itself."""


def add(parsers: Any) -> None:
    """Add the commands."""
    check = place.command(parsers, "check", "load the project and say what is wrong with it", listing=True)
    check.set_defaults(run=_check)
    plan = place.command(parsers, "plan", "freeze the audience and say what would be sent", listing=True)
    sync = place.command(parsers, "sync", "freeze the audience, plan, and send what is owed", listing=True)
    for one in (plan, sync):
        one.add_argument("sync", metavar="SYNC")
        one.add_argument("--partition", metavar="KEY", help="the partition; unset: the newest that is over")
    sync.add_argument("--limit", type=int, metavar="N", help="a trial: send at most so many operations")
    sync.add_argument("--only", nargs="+", default=[], metavar="ID", help="a trial: send these rows of the plan")
    sync.add_argument("--approve", metavar="PLAN", help="the id of a stopped plan that may be sent all the same")
    sync.add_argument("--by", dest="approved_by", help="who approves")
    sync.add_argument("--reason", help="why")
    sync.add_argument("--restore", action="store_true", help="go back to an older partition on purpose")
    plan.set_defaults(run=_plan)
    sync.set_defaults(run=_sync)


def _check(chosen: argparse.Namespace) -> int:
    declared, definitions = _project(chosen)
    import dagster as dg

    try:
        dg.Definitions.validate_loadable(definitions)
    except dg.DagsterError as error:
        raise FixSettings(f"the project can't be loaded: {str(error).splitlines()[0]}") from None
    found = {
        "audiences": len(declared.audiences),
        "connections": len(declared.connections),
        "syncs": len(declared.syncs),
    }
    said = ", ".join(f"{count} {name}" for name, count in found.items())
    print(json.dumps(found) if chosen.json else f"nothing is wrong: {said}")
    return 0


def _plan(chosen: argparse.Namespace) -> int:
    return _run(chosen, "diffs", {})


def _sync(chosen: argparse.Namespace) -> int:
    # A limit of 0 is none that was left out: it is refused, where the whole plan would be sent without it.
    given = {name: getattr(chosen, name) for name in SETTINGS}
    config = {name: value for name, value in given.items() if value or (name == "limit" and value is not None)}
    return _run(chosen, "syncs", config)


def _run(chosen: argparse.Namespace, last: str, config: dict[str, Any]) -> int:
    """Run the chain of a sync up to the asset *last* in this process, and say what became of it."""
    import dagster as dg

    from ..assets.assets import needed

    declared, definitions = _project(chosen)
    sync = declared.sync(chosen.sync)
    keys = {kind: dg.AssetKey([kind, sync.name]) for kind in ("diffs", "syncs")}
    wanted = [keys[last]]
    if not (config.get("approve") or config.get("only")):
        wanted += [keys["diffs"], *(dg.AssetKey(["snapshots", name]) for name in needed(sync))]
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(wanted))
    run_config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if config:
        run_config["ops"] = {f"syncs__{sync.name}": {"config": config}}
    bar = Bar(sys.stderr)
    watching = WATCHER.set(bar)
    try:
        with woken_by_signals(), _instance() as instance:
            result = job.execute_in_process(
                run_config=run_config,
                instance=instance,
                partition_key=_partition(chosen, declared, sync.audience.name),
                raise_on_error=False,
                tags={"zeotap/started_by": "command"},
            )
    finally:
        WATCHER.reset(watching)
        bar.close()
    events = list(result.all_events)
    said = _metadata(events, keys[last])
    failures = [_sentence(event.step_failure_data) for event in events if event.is_step_failure]
    checks = _checks(events, keys[last])
    # What the services said of rows is last: of a run that asked nothing, too, it says what waits for a person.
    outcome = said = {**said, **checks}
    # By a signal between two attempts of a step no step fails.
    canceled = not failures and not result.success
    if canceled:
        failures = [STOPPED]
    if stopped := _stopped(events):
        outcome = {**said, "stopped": "; ".join(stopped)}
    elif failures:
        outcome = {**said, "failed": failures[0]}
    if chosen.json:
        print(json.dumps(outcome, indent=2, ensure_ascii=False, default=str))
    else:
        print("\n".join(f"{name}: {value}" for name, value in outcome.items()))
    return 130 if canceled else int(bool(failures or MENDED & checks.keys()))


def _project(chosen: argparse.Namespace) -> tuple[Declared, dg.Definitions]:
    from ..project import load

    declared = place.declared(chosen)
    return declared, load(declared.tree.defs_module_path.parent)


def _partition(chosen: argparse.Namespace, declared: Declared, audience: str) -> str | None:
    from ..automation.chain import Chain

    definition = declared.audiences[audience].partitioning()
    if definition is None:
        return None
    if chosen.partition is not None:
        if not definition.has_partition_key(chosen.partition):
            raise FixSettings(f"there is no partition {chosen.partition!r} of {audience}")
        return str(chosen.partition)
    asked = Chain(declared.audiences[audience], ()).request(datetime.now(UTC), "command")
    if isinstance(asked, str):
        raise FixSettings(asked)
    return asked.partition_key


def _instance() -> dg.DagsterInstance:
    """Return the instance of DAGSTER_HOME, whose event log then knows of the run, or one that is forgotten."""
    import dagster as dg

    if not os.environ.get("DAGSTER_HOME"):
        return dg.DagsterInstance.ephemeral()
    try:
        return dg.DagsterInstance.get()
    except dg.DagsterInvariantViolationError as error:
        raise FixSettings(str(error).splitlines()[0]) from None


def _metadata(events: list[dg.DagsterEvent], key: dg.AssetKey) -> dict[str, Any]:
    """Return the metadata that an asset was recorded with last."""
    for event in reversed(events):
        if event.asset_key != key:
            continue
        if event.is_step_materialization:
            found = event.step_materialization_data.materialization.metadata
        elif event.event_type_value == "ASSET_OBSERVATION":
            found = event.asset_observation_data.asset_observation.metadata
        else:
            continue
        return {name: value.value for name, value in found.items()}
    return {}


def _stopped(events: list[dg.DagsterEvent]) -> list[str]:
    checks = [e.asset_check_evaluation_data for e in events if e.event_type_value == "ASSET_CHECK_EVALUATION"]
    wrong = [check for check in checks if not check.passed and check.blocking]
    return [str(check.description) for check in wrong if check.severity.value == "ERROR"]


def _checks(events: list[dg.DagsterEvent], key: dg.AssetKey) -> dict[str, str]:
    """Return what the failed checks on a sync say, by name; of a diff, nothing: a guard that warns stops nobody."""
    if key.path[0] != "syncs":
        return {}
    checks = [e.asset_check_evaluation_data for e in events if e.event_type_value == "ASSET_CHECK_EVALUATION"]
    last = {one.check_name: one for one in checks if one.asset_key == key}  # A step that is tried again checks again.
    return {name: str(one.description) for name, one in last.items() if not one.passed}


def _sentence(failure: Any) -> str:
    if failure.user_failure_data and failure.user_failure_data.description:
        return str(failure.user_failure_data.description)
    error = failure.error
    while error.cause is not None:  # Of a step that was tried again Dagster says so, and why below.
        error = error.cause
    if error.cls_name in ("DagsterExecutionInterruptedError", "KeyboardInterrupt"):  # Between two steps of ours.
        return STOPPED
    said = str(error.message).strip().splitlines()[0]
    return said.partition(": ")[2] if error.cls_name == "Stopped" else said
