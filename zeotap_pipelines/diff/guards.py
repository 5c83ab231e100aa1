"""Judge a plan before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from ..model import Change, Mode, Verb
from ..sync import Guards, Sync
from .plan import Level, Plan, Verdict

MANY = 10_000
"""From so many requests on, a plan of one request per row deserves a warning."""

SMALL = 100
"""Below so many members one person is more than a percent, so that the default share is larger."""

UNUSUAL = 100.0
"""From this share on, additions deserve a warning where the sync allows any: a target doubles, or is told all again."""

WARNS = 0.5
"""From this part of what it allows on, a guard warns."""


def judge(plan: Plan, sync: Sync, *, snapshot_taken_at: datetime, now: datetime) -> tuple[Verdict, ...]:
    """Return what the sync's guards say of *plan*."""
    return tuple(_verdicts(plan, sync, snapshot_taken_at, now))


def _verdicts(plan: Plan, sync: Sync, taken_at: datetime, now: datetime) -> Iterator[Verdict]:
    guards = sync.guards
    removed, added = plan.count(Verb.REMOVE), plan.operations - plan.count(Verb.REMOVE)
    if plan.audience + plan.opposed == 0 and not guards.allow_empty:
        # Removing needs a reason: an empty audience is more often a broken query than a wish.
        level = Level.STOP if sync.mode is Mode.MIRROR and plan.operations else Level.WARN
        yield Verdict("empty_audience", level, f"audience {sync.audience.name} is empty at {plan.partition}")
    if Change.LEFT in sync.verbs and plan.told:
        share, limit = 100 * removed / plan.told, max_removed_percent(guards, plan.told)
        if weighs := _level(share, limit):
            yield Verdict(
                "removed_share",
                weighs,
                f"{removed:,} of {plan.told:,} members would be removed ({share:.1f} %), allowed are {limit:g} %",
            )
        if weighs := _level(removed, guards.max_removed):
            yield Verdict(
                "removed_number",
                weighs,
                f"{removed:,} members would be removed, allowed are {guards.max_removed:,}",
            )
    if plan.told:
        yield from _additions(plan, guards, added)
    aside = sum(plan.set_aside.values())
    if aside:
        reasons = "; ".join(f"{reason}: {rows:,}" for reason, rows in sorted(plan.set_aside.items()))
        share = 100 * aside / (plan.audience + aside)
        # Who is in both audiences says nothing against the source: it holds up nobody else.
        wrong = 100 * (aside - plan.opposed) / (plan.audience + aside)
        level = Level.STOP if wrong > guards.max_set_aside_percent else Level.WARN
        yield Verdict(
            "set_aside", level, f"{aside:,} rows ({share:.1f} %) are set aside, neither sent nor removed: {reasons}"
        )
    if plan.null_keys and removed:
        yield Verdict(
            "null_keys",
            Level.WITHHOLD,
            f"{plan.null_keys:,} rows of audience {sync.audience.name} have no {' or '.join(sync.identity)}: "
            f"nobody can tell who they are, so {removed:,} removals wait for approval",
        )
    if plan.replacement:
        changed = (
            f"the mapping of {', '.join(sync.identity)} changed: {removed:,} members would be replaced by {added:,}"
        )
        if len(sync.target.identity) > 1 and not sync.target.composite:
            changed += (
                f". Where {' and '.join(sync.target.identity)} may name the same person, map both for one run first: "
                "otherwise removing the old name takes out whoever was added by the new one"
            )
        yield Verdict("identity_changed", Level.STOP, changed)
    if plan.come_back:
        yield Verdict(
            "identity_changed",
            Level.STOP,
            f"{plan.come_back:,} events of {plan.partition} would happen twice: they seem to be ones that were asked "
            f"for under another {sync.identity[0]}, which the audience no longer has",
        )
    if weighs := _level((now - taken_at) / timedelta(hours=1), guards.stale_after_hours):
        says = f"the snapshot was taken at {taken_at:%Y-%m-%d %H:%M}, allowed are {guards.stale_after_hours:g} hours"
        yield Verdict("stale_source", weighs, f"{says}: take it again")
    if sync.target.batch_items(next(iter(sync.verbs.values()))) == 1 and plan.operations >= MANY:
        yield Verdict(
            "slow_plan",
            Level.WARN,
            f"{plan.operations:,} rows are sent one by one: plan for off-peak hours, or try some with limit first",
        )
    for reason, rows in plan.odd.items():
        yield Verdict("odd_rows", Level.WARN, f"{rows:,} rows: {reason}")


def _additions(plan: Plan, guards: Guards, added: int) -> Iterator[Verdict]:
    share, limit = 100 * added / plan.told, guards.max_added_percent
    says = f"{added:,} rows would be sent to a target of {plan.told:,} ({share:.1f} %)"
    if weighs := _level(share, limit):
        yield Verdict("added_share", weighs, f"{says}, allowed are {limit:g} %")
    elif limit is None and share > UNUSUAL and plan.told >= SMALL:
        yield Verdict("added_share", Level.WARN, f"{says}; max_added_percent stops what is more than you expect")


def _level(value: float, limit: float | None) -> Level | None:
    """Return what *value* weighs where *limit* is allowed: a stop above it, a warning from half of it on."""
    if limit is None or value <= WARNS * limit:
        return None
    return Level.STOP if value > limit else Level.WARN


def max_removed_percent(guards: Guards, told: int) -> float:
    """Return the share of *told* members that one plan may remove."""
    if guards.max_removed_percent is not None:
        return guards.max_removed_percent
    return 30.0 if told >= SMALL else 50.0
