"""
Errors, named by what the reader must do.

    ZeotapError
     ├─ FixDeclaration      the YAML (or the call) asks for something impossible
     ├─ FixSettings         what was asked of one run contradicts itself, or names what isn't there
     ├─ FixQuery            the audience's query fails or returns something unusable
     ├─ FixConnection       credentials, host or permission are wrong
     ├─ FixTarget           the group, table or field does not exist at the service
     ├─ ApprovePlan         a guard stopped the plan; a person must look at it
     ├─ MakePlanAgain       the plan no longer fits what the target was told
     ├─ AskForRestore       an older partition was asked for; time does not run backwards
     │   ├─ FilledOnce       the target is filled once, and was; reset it to fill it again
     │   ├─ HalfFilled       it is filled once, and half filled from another partition; deliver that one
     │   └─ RestoredSince    it is the newest that was asked, and an older one was restored since
     ├─ AdoptTarget         state is missing although deliveries happened
     ├─ RepairState         a state file is damaged
     ├─ WaitForAccount      somebody else speaks to this account
     └─ TryAgainLater       nothing is wrong here; the service could not take everything
         └─ ContinueLater   it is not the time: the service, the delivery window or a person says so
"""

from __future__ import annotations

from datetime import datetime


class ZeotapError(Exception):
    """Anything that ends in one clear sentence for a person."""

    retryable = False
    """Whether asking again later, with nothing changed, can succeed."""


class FixDeclaration(ZeotapError):
    """The declaration asks for something impossible."""


class FixSettings(ZeotapError):
    """What was asked of one run contradicts itself, or names what isn't there."""


class FixQuery(ZeotapError):
    """The audience's query fails, or returns rows that cannot be used."""


class FixConnection(ZeotapError):
    """The service does not know us, or cannot be reached at this address."""


class FixTarget(ZeotapError):
    """The target does not exist at the service, or is of another kind."""


class ApprovePlan(ZeotapError):
    """A guard stopped the plan."""


class MakePlanAgain(ZeotapError):
    """The plan no longer fits what the target was told."""


class AskForRestore(ZeotapError):
    """An older partition than the last one asked for: it needs ``restore``."""


class FilledOnce(AskForRestore):
    """The target is filled once, and was."""


class HalfFilled(AskForRestore):
    """The target is filled once, and half filled from the partition that it is *pinned* to."""

    def __init__(self, message: str, pinned: str) -> None:
        super().__init__(message)
        self.pinned = pinned


class RestoredSince(AskForRestore):
    """The newest partition that was asked, of which an older one was restored since: it is not superseded."""


class AdoptTarget(ZeotapError):
    """Deliveries were recorded, and the ledger that should remember them is not there."""


class RepairState(ZeotapError):
    """A state file is damaged."""


class WaitForAccount(ZeotapError):
    """Another run speaks to this account."""

    retryable = True


class TryAgainLater(ZeotapError):
    """The service could not take everything; what is left is owed."""

    retryable = True


class ContinueLater(TryAgainLater):
    """The service (or its budget, or the sync's hours) allows more from *until* on; None: when a person does."""

    def __init__(self, message: str, until: datetime | None) -> None:
        super().__init__(message)
        self.until = until
