"""Agillic's recipients: upsert in batches, insert and update one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

import httpx

from ..errors import FixDeclaration
from ..model import Batch, Call, Conversation, Fate, Halt, Operation, Outcome, Receipt, Unanswered, Verb
from ..naming import NAME, segment
from .agillic import MEDIA_TYPE, RECORDS, AgillicTarget, compact, elsewhere, misfit, post
from .base import Visit

RECIPIENTS = "/recipients"
UPSERT = "/recipients/v2/:upsert"

NOT_FOUND = "recipient not found: mode update needs recipients that exist, use mode upsert for new ones"


@dataclass(frozen=True)
class AgillicRecipients(AgillicTarget):
    """
    The Person Data of recipients.

    *stream* names what is written, so that two teams may write different fields
    of the same recipients. *update_checks_existence* lets mode update ask for
    every recipient first, since PUT creates those that are missing.
    """

    stream: str
    update_checks_existence: bool = field(default=True, kw_only=True)

    kind = "recipients"
    verbs = frozenset({Verb.UPSERT, Verb.INSERT, Verb.UPDATE})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not NAME.fullmatch(self.stream):
            raise FixDeclaration(f"stream {self.stream!r}: use letters, digits and underscores")

    @property
    def name(self) -> str:
        """The stream."""
        return self.stream

    def batch_items(self, verb: Verb) -> int:
        """Return a thousand for upsert; insert and update go one by one."""
        return RECORDS if verb is Verb.UPSERT else 1

    def converse(self, batch: Batch, visit: Visit) -> Conversation:
        """Upsert a batch, or insert or update one recipient."""
        match batch.verb:
            case Verb.UPSERT:
                return self.upsert(post(UPSERT, recipients(self.recipient_id_field, batch)), batch)
            case Verb.INSERT:
                [operation] = batch
                return self._insert(operation)
            case Verb.UPDATE:
                [operation] = batch
                return self._update(operation)
            case Verb.ADD | Verb.REMOVE:
                raise ValueError(f"recipients are not asked to {batch.verb.value}")
        assert_never(batch.verb)

    def _insert(self, operation: Operation) -> Conversation:
        call = post(RECIPIENTS, person_data(operation))
        response = yield call
        if already_exists(response):
            if operation.repeated or response.extensions.get("repeated"):
                return Receipt(Outcome(Fate.ACCEPTED, "an earlier attempt created the recipient", response.status_code))
            reason = "recipient exists already: use mode upsert to update existing recipients"
            return Receipt(Outcome(Fate.REJECTED, reason, response.status_code, untouched=True, final=True))
        return Receipt(self._one(response, call))

    def _update(self, operation: Operation) -> Conversation:
        name = self.recipient_id_field
        path = f"{RECIPIENTS}/{segment(name)}={segment(operation.fields[name])}"
        if self.update_checks_existence:
            call = Call("GET", path)
            try:
                response = yield call
            except Unanswered as lost:
                return Receipt(Outcome(Fate.DEFERRED, lost.outcome.reason, lost.outcome.status, untouched=True))
            outcome = self._one(response, call, missing=NOT_FOUND)
            if outcome.fate is not Fate.ACCEPTED:
                return Receipt(Outcome(outcome.fate, outcome.reason, outcome.status, untouched=True))
        # Assumption (partial-update): PUT leaves the Person Data that it doesn't name as it is.
        call = Call("PUT", path, content=person_data(operation), headers={"Content-Type": MEDIA_TYPE})
        response = yield call
        outcome = self._one(response, call, missing=NOT_FOUND)
        if response.status_code == httpx.codes.CREATED:
            return Receipt(Outcome(Fate.ACCEPTED, "the recipient did not exist: Agillic created it", 201))
        return Receipt(outcome)

    def _one(self, response: httpx.Response, call: Call, *, missing: str | None = None) -> Outcome:
        """Return what *response* means for one recipient; a 404 means *missing*, where that is given."""
        if missing and response.status_code == httpx.codes.NOT_FOUND:
            return Outcome(Fate.REJECTED, missing, 404, untouched=True)
        if error := misfit(response, call, elsewhere(RECIPIENTS)):
            raise Halt(Receipt(Outcome(Fate.DEFERRED, str(error), response.status_code, untouched=True)), error)
        return self.judge(response)


def recipients(id_field: str, batch: Batch) -> bytes:
    """
    Return the body of a batch upsert, joined from the rows' own texts.

    Assumption (upsert-body): ``{"details": {"recipientIdField": …, "recipients": [{"personData": {…}}, …]}}``.
    """
    people = '},{"personData":'.join(operation.body for operation in batch)
    return f'{{"details":{{"recipientIdField":{compact(id_field)},"recipients":[{{"personData":{people}}}]}}}}'.encode()


def person_data(operation: Operation) -> bytes:
    """Return the body that creates or updates one recipient."""
    return f'{{"personData":{operation.body}}}'.encode()


def already_exists(response: httpx.Response) -> bool:
    """Whether an insert is refused because it exists. Assumption (exists): a 409, or a 400 that says so."""
    if response.status_code == httpx.codes.CONFLICT:
        return True
    return response.status_code == httpx.codes.BAD_REQUEST and "already exists" in response.text.casefold()
