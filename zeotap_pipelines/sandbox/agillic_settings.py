"""What the Agillic of the sandbox is like: credentials, fields, tables, groups, limits, and how its tasks go."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from zeotap_pipelines.sandbox.oauth import Client

AGILLIC_KEY = "sandbox-agillic"
AGILLIC_SECRET = "not-a-secret-agillic"
AGILLIC_STAGING_KEY = "sandbox-agillic-staging"
AGILLIC_STAGING_SECRET = "not-a-secret-agillic-staging"
EMAIL = "EMAIL"
PRODUCTION = "production"
STAGING = "staging"

Ending = Literal["completed", "failed", "lost"]

# Letters of a date format → strptime directive and digits; strptime alone would take a single digit for dd.
_DATE_PARTS = {
    "yyyy": ("%Y", "[0-9]{4}"),
    "yy": ("%y", "[0-9]{2}"),
    "MM": ("%m", "[0-9]{2}"),
    "dd": ("%d", "[0-9]{2}"),
    "HH": ("%H", "[0-9]{2}"),
    "mm": ("%M", "[0-9]{2}"),
    "ss": ("%S", "[0-9]{2}"),
}


class DateFormat:
    """A format such as dd.MM.yyyy; ValueError where a letter in it has no meaning here."""

    def __init__(self, pattern: str) -> None:
        directives, digits = "", ""
        for part in re.finditer(r"([A-Za-z])\1*|[^A-Za-z]+", pattern):
            if part[1] is None:
                directives += part[0].replace("%", "%%")
                digits += re.escape(part[0])
            elif part[0] in _DATE_PARTS:
                directives += _DATE_PARTS[part[0]][0]
                digits += _DATE_PARTS[part[0]][1]
            else:
                raise ValueError(f"{part[0]!r} in the date format {pattern!r} is not known")
        self._directives = directives
        self._digits = re.compile(digits)

    def fits(self, text: str) -> bool:
        """Whether `text` is a date that exists, written in this format."""
        if not self._digits.fullmatch(text):
            return False
        try:
            datetime.strptime(text, self._directives)
        except ValueError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class AgillicField:
    """A field of person data or of a one-to-many table."""

    name: str
    type: Literal["STRING", "NUMBER", "DATE"] = "STRING"


@dataclass(frozen=True, slots=True)
class AgillicTable:
    """A one-to-many table; a row is the same row where recipient and `key` field are the same."""

    name: str
    key: str
    fields: tuple[AgillicField, ...]


@dataclass(frozen=True, slots=True)
class AgillicGroup:
    """A target group that is there from the start."""

    name: str
    description: str = ""
    static: bool = True


PERSON_DATA = (
    AgillicField(EMAIL),
    AgillicField("FIRSTNAME"),
    AgillicField("LASTNAME"),
    AgillicField("MOBILE"),
    AgillicField("CUSTOMER_ID"),
    AgillicField("SPEND_90D", "NUMBER"),
    AgillicField("LAST_PURCHASE", "DATE"),
)
TABLES = (
    AgillicTable(
        "PURCHASES",
        "PURCHASE_ID",
        (
            AgillicField("PURCHASE_ID"),
            AgillicField("PURCHASED_ON", "DATE"),
            AgillicField("CDS", "NUMBER"),
            AgillicField("DOLLARS", "NUMBER"),
        ),
    ),
)
GROUPS = (
    AgillicGroup("Active 90 days", "Bought something in the last 90 days"),
    AgillicGroup("Big spenders", "Computed by Agillic", static=False),
)


def everyone_but_bad(recipient: str) -> bool:
    """Whether a recipient can be written, by default: all can but those whose id starts with 'bad'."""
    return not recipient.startswith("bad")


def always_completed(_: int) -> Ending:
    """How the task of this number ends, by default."""
    return "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgillicSettings:
    """Two instances on one host, of one shape and with separate state: the key pair decides which one is meant.

    A task is done once `task_polls` polls have found it unfinished, or `task_seconds` after it was accepted, whichever
    is first; None for both: never. `task_words` are shown in turn until then. `task_ending` tells from a task's number,
    counted from 1 over both instances, whether it completes, fails (nothing is applied) or is lost (nothing is
    applied and nobody knows it). `daily_calls` of None: five per active recipient.
    """

    client: Client = field(
        default_factory=lambda: Client(
            client_id=AGILLIC_KEY, client_secret=AGILLIC_SECRET, credentials_in="basic", expires_in=7200
        )
    )
    staging: Client = field(
        default_factory=lambda: Client(
            client_id=AGILLIC_STAGING_KEY,
            client_secret=AGILLIC_STAGING_SECRET,
            credentials_in="basic",
            expires_in=7200,
        )
    )
    id_field: str = EMAIL
    fields: tuple[AgillicField, ...] = PERSON_DATA
    tables: tuple[AgillicTable, ...] = TABLES
    groups: tuple[AgillicGroup, ...] = GROUPS
    date_format: str = "dd.MM.yyyy"
    accepts: Callable[[str], bool] = everyone_but_bad
    active_recipients: int = 50_000
    daily_calls: int | None = None
    staging_daily_calls: int = 5_000
    max_in_flight: int = 20
    max_bytes: int = 20_000_000
    task_polls: int | None = 2
    task_seconds: float | None = 60.0
    task_words: tuple[str, ...] = ("queued", "pending", "running")
    task_ending: Callable[[int], Ending] = always_completed

    def __post_init__(self) -> None:
        names = {one.name for one in self.fields}
        if not {EMAIL, self.id_field} <= names:
            raise ValueError(f"{EMAIL} and the id field {self.id_field} must be fields of the person data")
        for table in self.tables:
            if table.key not in {one.name for one in table.fields}:
                raise ValueError(f"the key {table.key} is not a field of the table {table.name}")
        if not self.task_words:
            raise ValueError("a task needs a word for being unfinished")
        DateFormat(self.date_format)

    def budget(self, instance: str) -> int:
        """How many calls an instance may be asked in one day, UTC."""
        if instance == STAGING:
            return self.staging_daily_calls
        return 5 * self.active_recipients if self.daily_calls is None else self.daily_calls

    def table(self, name: str) -> AgillicTable | None:
        """The one-to-many table of this name, case-sensitive."""
        return next((table for table in self.tables if table.name == name), None)
