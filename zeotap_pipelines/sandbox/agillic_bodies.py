"""The bodies that Agillic's contract knows; every other one is undocumented."""

import math
import re
from collections.abc import Mapping
from typing import Any

from zeotap_pipelines.sandbox.agillic_settings import AgillicSettings
from zeotap_pipelines.sandbox.messages import Undocumented

MAX_RECIPIENTS = 1_000
MAX_MEMBERS = 100
_SURROGATE = re.compile("[\ud800-\udfff]")

# Person data or a row of a table, by field.
Given = dict[str, Any]


def person_data(body: object) -> Given:
    """`{"personData": {…}}`."""
    return _flat(_exactly(body, "personData")["personData"])


def recipients(body: object, settings: AgillicSettings) -> dict[str, Given]:
    """`{"details": {"recipientIdField": …, "recipients": [{"personData": {…}}]}}`, by recipient id."""
    details = _exactly(_exactly(body, "details")["details"], "recipientIdField", "recipients")
    _same_id_field(details["recipientIdField"], settings)
    batch: dict[str, Given] = {}
    for entry in _listed(details["recipients"], MAX_RECIPIENTS, "recipients"):
        given = person_data(entry)
        recipient = identity(given, settings.id_field)
        if recipient in batch:
            raise Undocumented(400, "a recipient is twice in one batch")
        batch[recipient] = given
    return batch


def members(body: object, settings: AgillicSettings) -> tuple[str, list[str]]:
    """`{"targetGroupName": …, "recipientIdField": …, "recipientIds": […]}`: the group's name and the ids."""
    given = _exactly(body, "targetGroupName", "recipientIdField", "recipientIds")
    _same_id_field(given["recipientIdField"], settings)
    listed = _listed(given["recipientIds"], MAX_MEMBERS, "recipientIds")
    return _text(given["targetGroupName"], "targetGroupName"), [_text(one, "a recipient id") for one in listed]


def rows(body: object, settings: AgillicSettings) -> tuple[str, dict[str, list[Given]]]:
    """The rows of a one-to-many table, grouped by recipient: the table's id and the records by recipient id.

    `{"details": {"tableId": …, "recipientIdField": …, "recipients": [{"recipientId": …, "records": [{…}]}]}}`
    """
    details = _exactly(_exactly(body, "details")["details"], "tableId", "recipientIdField", "recipients")
    _same_id_field(details["recipientIdField"], settings)
    grouped: dict[str, list[Given]] = {}
    for entry in _listed(details["recipients"], MAX_RECIPIENTS, "recipients"):
        given = _exactly(entry, "recipientId", "records")
        recipient = _text(given["recipientId"], "a recipient id")
        if recipient in grouped:
            raise Undocumented(400, "the records are not grouped by recipient")
        grouped[recipient] = [_flat(record) for record in _listed(given["records"], None, "records")]
    return _text(details["tableId"], "tableId"), grouped


def identity(given: Mapping[str, Any], id_field: str) -> str:
    """The recipient's id in its person data, as text."""
    value = given.get(id_field)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise Undocumented(400, "the person data lacks the Recipient ID Field")
    return str(value)


def _exactly(value: object, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(names):
        raise Undocumented(400, f"an object does not consist of {', '.join(names)}")
    return value


def _listed(value: object, most: int | None, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise Undocumented(400, f"{what} is not a list with something in it")
    if most is not None and len(value) > most:
        raise Undocumented(400, f"more than {most:,} {what}")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value or not _is_text(value):
        raise Undocumented(400, f"{what} is not a text")
    return value


def _is_text(value: object) -> bool:
    # JSON can escape half of a surrogate pair, which is no character.
    return isinstance(value, str) and not _SURROGATE.search(value)


def _flat(value: object) -> Given:
    if not isinstance(value, dict):
        raise Undocumented(400, "fields are not an object")
    for one in value.values():
        known = one is None or isinstance(one, int) or (isinstance(one, float) and math.isfinite(one))
        if not (known or _is_text(one)):
            raise Undocumented(400, "the value of a field is not a text, number, boolean or null")
    return value


def _same_id_field(value: object, settings: AgillicSettings) -> None:
    if value != settings.id_field:
        raise Undocumented(400, f"recipientIdField is not {settings.id_field}")
