"""Agillic's one-to-many tables: records that belong to a recipient, upserted in batches grouped by recipient."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from ..errors import FixDeclaration, FixTarget
from ..model import Batch, Call, Conversation, Fate, Halt, Mode, Operation, Outcome, Question, Receipt, Unanswered, Verb
from ..naming import NAME, segment
from .agillic import (
    PERSON_DATA,
    AgillicTarget,
    check_fields,
    check_identifier,
    compact,
    fields_of,
    listing,
    post,
    spelled,
)
from .agillic_tasks import nobody
from .base import Visit

TABLES = "/discovery/onetomany"
UPSERT = "/recipients/v2/oneToManyTables/:upsert"


@dataclass(frozen=True)
class AgillicTable(AgillicTarget):
    """
    The records of one one-to-many table, called by its id.

    *record_id_field* is the table's own field that identifies a record. *stream*
    names what is written, so that two teams may write different fields.
    """

    table: str
    record_id_field: str
    stream: str

    kind = "one_to_many_table"
    verbs = frozenset({Verb.UPSERT})
    required = ()
    default_fields = ()
    composite = True
    notes = ("records whose rows leave the audience stay in the table",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.table.strip():
            raise FixDeclaration("table is the id of a one-to-many table")
        if not self.record_id_field.strip() or self.record_id_field == self.recipient_id_field:
            raise FixDeclaration("record_id_field is the field that identifies a record within the table")
        if not NAME.fullmatch(self.stream):
            raise FixDeclaration(f"stream {self.stream!r}: use letters, digits and underscores")

    @property
    def name(self) -> str:
        """The table's id and the stream."""
        return f"{self.table}/{self.stream}"

    @property
    def identity(self) -> tuple[str, ...]:
        """The recipient and the record: both together are the key."""
        return (self.recipient_id_field, self.record_id_field)

    def check(self, mode: Mode, fields: Collection[str]) -> None:
        """Refuse a mapping without the recipient or the record."""
        if missing := [name for name in self.identity if name not in fields]:
            raise FixDeclaration(f"map a column to {missing[0]}: recipient and record together identify a row")

    def invalid(self) -> Iterable[tuple[str, str]]:
        """Return nothing: a record holds no e-mail address."""
        return ()

    def odd(self) -> Iterable[tuple[str, str]]:
        """Return nothing: a record holds no e-mail address."""
        return ()

    def preflight(self, visit: Visit) -> Question:
        """Ask whether the recipient id field exists, and the table with every mapped field."""
        self.check_person_data((yield Call("GET", PERSON_DATA)), [self.recipient_id_field])
        tables = listing((yield Call("GET", TABLES)), TABLES)
        ids = [one.get("name") if isinstance(one, dict) else one for one in tables] if isinstance(tables, list) else []
        if ids and self.table not in ids:
            raise self._missing(spelled(self.table, [str(one) for one in ids]))
        path = f"{TABLES}/{segment(self.table)}"
        known = fields_of((yield Call("GET", path)), path)
        check_fields({self.record_id_field, *visit.fields} - {self.recipient_id_field}, known, f"table {self.table!r}")
        check_identifier(self.record_id_field, known, f"table {self.table!r}", "record_id_field")

    def converse(self, batch: Batch, visit: Visit) -> Conversation:
        """
        Upsert a batch of records.

        Agillic refuses all records of a recipient for one that is malformed: they are
        asked again in halves until it stands alone.
        """
        known: dict[int, Outcome] = {}
        request: str | None = None
        waiting = [batch]
        while waiting:
            part = waiting.pop()
            call = post(UPSERT, records(self.table, self.recipient_id_field, part))
            try:
                receipt = yield from self.upsert(call, part, self._missing(self.table))
            except Unanswered as lost:
                return Receipt(replace(lost.outcome, untouched=lost.outcome.untouched and part is batch), known)
            except Halt as halt:
                left = replace(halt.receipt.everyone, untouched=part is batch)
                raise Halt(Receipt(left, known), halt.error) from halt
            fate = receipt.everyone.fate
            if part is batch and (receipt.split or fate is not Fate.ACCEPTED):
                return receipt
            if receipt.split:
                waiting += _in_two([part.operations], batch)
                continue
            if fate not in (Fate.ACCEPTED, Fate.REJECTED):
                return Receipt(receipt.everyone, known | dict(receipt.except_for))
            unclear = self._unclear(part, receipt)
            again = {operation.row for some in unclear for operation in some}
            known |= {o.row: receipt.outcome(o) for o in part if o.row not in again}
            request = receipt.everyone.request or request
            if unclear:
                waiting += _in_two(unclear, batch)
        accepted = Outcome(Fate.ACCEPTED, request=request)
        return Receipt(accepted, {row: o for row, o in known.items() if o.fate is not Fate.ACCEPTED})

    def _unclear(self, part: Batch, receipt: Receipt) -> list[tuple[Operation, ...]]:
        """Return the records of each recipient that was refused for one or more of them."""
        refused: dict[str, list[Operation]] = {}
        for operation in part:
            if operation.row in receipt.except_for and not nobody(receipt.outcome(operation).reason):
                refused.setdefault(operation.fields[self.recipient_id_field], []).append(operation)
        return [tuple(some) for some in refused.values() if len(some) > 1]

    def _missing(self, table: str) -> FixTarget:
        return FixTarget(f"Agillic has no one-to-many table {table}: table ids are case-sensitive")


def _in_two(groups: Iterable[tuple[Operation, ...]], batch: Batch) -> list[Batch]:
    """Return the first halves of *groups* as one batch, and the second halves as another."""
    halves = [[(some[: len(some) // 2], some[len(some) // 2 :])[half] for some in groups] for half in (0, 1)]
    return [Batch(tuple(chain.from_iterable(half)), batch.at) for half in halves]


def records(table: str, id_field: str, batch: Batch) -> bytes:
    """
    Return the body of an upsert of records, grouped by recipient.

    Assumption (records-body): ``{"details": {"tableId": …, "recipientIdField": …, "recipients": […]}}``, where a
    recipient is ``{"recipientId": …, "records": [{…}]}``.
    """
    grouped: dict[str, list[Any]] = {}
    for operation in batch:
        record = operation.fields
        grouped.setdefault(record.pop(id_field), []).append(record)
    people = [{"recipientId": recipient, "records": rows} for recipient, rows in grouped.items()]
    return compact({"details": {"tableId": table, "recipientIdField": id_field, "recipients": people}}).encode()
