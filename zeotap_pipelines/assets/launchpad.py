"""What a person may ask of one run of a sync, in the dialog that materializes it."""

# No postponed annotations here: Dagster reads the types of a config's fields.
from typing import Any

import dagster as dg
from pydantic import Field

from ..delivery.trip import Approval
from ..errors import FixSettings
from ..naming import said


class SyncConfig(dg.Config):
    """What a person may ask of one run of a sync."""

    dry_run: bool = Field(False, description="Send nothing; record what would be sent.")
    restore: bool = Field(False, description="Go back to a partition older than the newest one delivered.")
    limit: int | None = Field(None, description="A trial: send at most so many operations. Not a delivery.")
    only: list[str] = Field(
        [], description="A trial: send these rows of the plan, by the ids that the plan's page shows. Not a delivery."
    )
    approve: str | None = Field(None, description="The id of a stopped plan that may be sent all the same.")
    approved_by: str | None = Field(None, description="Who approves.")
    reason: str | None = Field(None, description="Why.")
    adopt: bool = Field(False, description="Go on although the ledger that remembers earlier deliveries is missing.")

    @property
    def trial(self) -> bool:
        """Whether only a part is sent, so that the run is no delivery."""
        return self.limit is not None or bool(self.only)

    def allowed(self) -> dict[str, Any]:
        """Return what a person allowed this delivery: it holds for the run that goes on with it."""
        found = {name: getattr(self, name) for name in ("restore", "approve", "approved_by", "reason")}
        return {name: value for name, value in found.items() if value}

    def approval(self) -> Approval | None:
        """Return the approval, which needs a name and a reason."""
        if self.approve is None:
            return None
        if not (said(self.approved_by) and said(self.reason)):
            raise FixSettings("an approval carries approved_by and reason")
        assert self.approved_by and self.reason
        return Approval(self.approve, self.approved_by, self.reason)

    def check(self, plans: int) -> None:
        """Raise FixSettings where the settings contradict each other; the run delivers so many *plans*."""
        if self.limit is not None and self.limit < 1:
            raise FixSettings(f"limit {self.limit} sends nothing: a trial has at least 1 operation (dry_run has none)")
        if self.limit is not None and self.only:
            raise FixSettings("limit and only are two kinds of trial: set one of them")
        if self.dry_run and self.trial:
            which = "only" if self.only else "limit"
            raise FixSettings(f"a dry run sends nothing: take {which} out, or dry_run for a trial")
        if self.only and plans > 1:
            raise FixSettings("only names rows of one plan: materialize its partition alone")
        self.approval()
