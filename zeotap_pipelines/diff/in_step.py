"""
A snapshot that says what was delivered already is not compared again.

The ledger's newest movement accepted every operation of a plan, and that plan was made
from the same rows by the same declaration: then nothing is owed.
"""

from __future__ import annotations

from contextlib import suppress

from ..engines.duckdb import rows
from ..errors import RepairState
from ..rendering import DIGEST_VERSION
from ..state import State
from .comparison import Comparison, several
from .plan import Plan, load_file


def delivered(compared: Comparison, state: State) -> Plan | None:
    """Return the plan that was delivered whole and would be made again now; None where nobody can be sure."""
    sync, standing = compared.sync, compared.standing
    if sync.target.event or several(sync) or standing.reassert_before is not None:
        return None  # What is owed depends on more than the rows and what was told of them.
    last = rows(
        compared.connection,
        """
        SELECT plan, accepted, rejected + deferred + in_doubt FROM movements
        WHERE generation = (SELECT max(generation) FROM movements)
            AND NOT EXISTS (SELECT 1 FROM told WHERE unsettled OR refused_verb IS NOT NULL)
        """,
    )
    if not last:
        return None
    [(name, accepted, other)] = last
    path = state.find_plan(name) if name else None
    plan = None
    with suppress(RepairState):  # What is damaged proves nothing.
        plan = load_file(path.with_suffix(".json")) if path else None
    if plan is None or other or accepted != plan.operations or plan.generation != standing.generation - 1:
        return None
    made = (plan.address, plan.declared, plan.snapshot, plan.digest_version, plan.identity == standing.identity)
    now = (str(sync.address), sync.declared, compared.snapshot.digest, DIGEST_VERSION, True)
    if plan.opposing != (compared.opposing.digest if compared.opposing else ""):
        return None
    return plan if made == now and not plan.refused_before and not plan.kept_for else None
