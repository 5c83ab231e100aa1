"""Agillic's static target groups: recipients are upserted first, then added by the hundred; removed by the hundred."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..errors import FixConnection, FixDeclaration, FixTarget
from ..model import (
    ACCEPTED,
    MODES,
    Batch,
    Call,
    Change,
    Conversation,
    Fate,
    Halt,
    Mode,
    Operation,
    Outcome,
    Question,
    Receipt,
    Unanswered,
    Verb,
)
from .agillic import RECORDS, AgillicTarget, compact, listing, misfit, post, spelled
from .agillic_recipients import UPSERT, recipients
from .agillic_tasks import attributed, nobody, whom_it_names
from .base import Visit

TARGET_GROUPS = "/discovery/targetgroups"
ADD = "/recipients/:addToStaticTargetGroup"
REMOVE = "/recipients/:removeFromStaticTargetGroup"

MEMBERS = 100
"""Recipients in one request to a group."""

PATIENCE = 20
"""So many refused requests and none accepted: the request is at fault, not its members."""


Request = tuple[str, list[Operation]]
"""The field that identifies the members of one request, and the members."""


@dataclass(frozen=True)
class AgillicTargetGroup(AgillicTarget):
    """The members of one static target group, called by its name, and their Person Data."""

    group: str

    kind = "static_target_group"
    verbs = frozenset({Verb.ADD, Verb.REMOVE})
    notes = ("recipients that leave the group stay in Agillic, with their Person Data",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.group.strip():
            raise FixDeclaration("group is the name of a static target group (Agillic: Audiences > Target Groups)")

    @property
    def name(self) -> str:
        """The group's name."""
        return self.group

    @classmethod
    def modes(cls) -> Mapping[Mode, Mapping[Change, Verb]]:
        """Return add, remove and mirror, and upsert, which is add by another name."""
        return {**super().modes(), Mode.UPSERT: MODES[Mode.ADD]}

    def batch_items(self, verb: Verb) -> int:
        """Return how many recipients one upsert, or one removal, takes."""
        return RECORDS if verb is Verb.ADD else MEMBERS

    def calls(self, verb: Verb, operations: int) -> int:
        """Return the requests: whoever is added is uploaded first, and then told a hundred at a time."""
        return super().calls(verb, operations) + (-(-operations // MEMBERS) if verb is Verb.ADD else 0)

    def preflight(self, visit: Visit) -> Question:
        """Ask whether the fields exist, whether the group does, and whether it is static."""
        yield from super().preflight(visit)
        groups = listing((yield Call("GET", TARGET_GROUPS)), TARGET_GROUPS)
        if not isinstance(groups, list):
            raise FixConnection(f"Agillic does not answer {TARGET_GROUPS} with a list: check base_url")
        named = {str(one["name"]): one for one in groups if isinstance(one, dict) and "name" in one}
        if self.group not in named:
            raise FixTarget(f"{self._missing()}: it has no group {spelled(self.group, named)}")
        if named[self.group].get("static") is not True:
            raise FixTarget(
                f"target group {self.group!r} is not static: dynamic groups are read-only via the API; "
                "create a static one (Agillic: Audiences > Target Groups)"
            )

    def converse(self, batch: Batch, visit: Visit) -> Conversation:
        """Upsert a batch and add those of it that were accepted, or remove a batch."""
        if batch.verb is Verb.REMOVE:
            return (yield from self._tell(REMOVE, batch.operations, Receipt(ACCEPTED)))
        call = post(UPSERT, recipients(self.recipient_id_field, batch))
        upserted = yield from self.upsert(call, batch)
        members = [operation for operation in batch if upserted.outcome(operation).fate is Fate.ACCEPTED]
        if upserted.split or not members:
            return upserted
        reason = "not added to the group: {}"
        refused = {row: replace(o, reason=reason.format(o.reason)) for row, o in upserted.except_for.items()}
        return (yield from self._tell(ADD, members, Receipt(upserted.everyone, refused)))

    def _tell(self, path: str, members: Iterable[Operation], so_far: Receipt) -> Conversation:
        """
        Add or remove *members* a hundred at a time, and return what became of everyone.

        *so_far* holds what those who succeed get, and what is known already. Cut off, the
        conversation keeps what was answered; those who are left were upserted
        nevertheless, so that only a removal can be untouched.
        """
        accepted, known = so_far.everyone, dict(so_far.except_for)
        waiting, refusals = deque(_requests(members, self.recipient_id_field)), 0
        while waiting:
            id_field, some = waiting.popleft()
            call = post(path, membership(self.group, id_field, some))
            try:
                response = yield call
            except Unanswered as lost:
                return Receipt(_left(lost.outcome, path), known)
            outcome = self.judge(response)
            if outcome.fate is not Fate.ACCEPTED:
                error = misfit(response, call, FixTarget(f"{self._missing()}: HTTP 404 to {path}"))
                refusals += 1
                if (
                    error is None
                    and outcome.fate is Fate.REJECTED
                    and refusals > PATIENCE
                    and accepted not in known.values()
                ):
                    error = FixTarget(f"Agillic refuses every member of {self.group!r}: {outcome.reason}")
                if error is not None:
                    left = Outcome(Fate.DEFERRED, str(error), response.status_code, untouched=True)
                    raise Halt(Receipt(_left(left, path), known), error)
                if outcome.fate is not Fate.REJECTED:
                    return Receipt(_left(outcome, path), known)
                if len(some) == 1:
                    known[some[0].row] = outcome
                else:
                    waiting.extendleft(reversed(_halves(id_field, some)))
                continue
            failed = whom_it_names(response)
            if failed is None:
                unheard = Outcome(Fate.DEFERRED, "Agillic's answer can't be read", response.status_code)
                return Receipt(_left(unheard, path), known)
            refused = attributed(failed, some, id_field)
            if refused is None:  # Somebody failed and it isn't said who: in halves, one is alone in the end.
                waiting.extendleft(reversed(_halves(id_field, some)))
                continue
            known |= {operation.row: accepted for operation in some}
            known |= {row: _refused(said, path) for row, said in refused.items()}
        return Receipt(accepted, {row: outcome for row, outcome in known.items() if outcome is not accepted})

    def _missing(self) -> str:
        return f"Agillic does not find target group {self.group!r} (see Audiences > Target Groups for its name)"


def membership(group: str, id_field: str, members: Iterable[Operation]) -> bytes:
    """
    Return the body that adds or removes *members*.

    Assumption (group-body): ``{"targetGroupName": …, "recipientIdField": …, "recipientIds": […]}``.
    """
    identities = [operation.fields[id_field] for operation in members]
    body = {"targetGroupName": group, "recipientIdField": id_field, "recipientIds": identities}
    return compact(body).encode()


def _requests(members: Iterable[Operation], id_field: str) -> list[Request]:
    """
    Return *members* by the hundred, with the field that identifies them.

    A removal names the field that its recipient was delivered by, which is another
    than *id_field* where that setting was changed since.
    """
    called: dict[str, list[Operation]] = {}
    for operation in members:
        fields = operation.fields
        called.setdefault(id_field if id_field in fields else next(iter(fields)), []).append(operation)
    return [(name, some[n : n + MEMBERS]) for name, some in called.items() for n in range(0, len(some), MEMBERS)]


def _halves(id_field: str, some: list[Operation]) -> list[Request]:
    middle = len(some) // 2
    return [(id_field, some[:middle]), (id_field, some[middle:])]


def _refused(said: str, path: str) -> Outcome:
    """Return what a failure in a group's answer means: who doesn't exist is in no group."""
    if path == REMOVE and nobody(said):
        return Outcome(Fate.ACCEPTED, "recipient not found: nobody to remove")
    return Outcome(Fate.REJECTED, f"refused by the group: {said}")


def _left(outcome: Outcome, path: str) -> Outcome:
    """Return *outcome* for those who weren't reached: whoever was to be added was upserted nevertheless."""
    return outcome if path == REMOVE else replace(outcome, untouched=False)
