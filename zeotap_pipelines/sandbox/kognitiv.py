"""Kognitiv Inspire, promotional member groups.

| method | path | meaning |
|---|---|---|
| POST | /Auth/connect/token | client credentials → bearer token |
| GET | /api/groups/promotionalMember | the groups |
| PUT | /api/groups/promotionalMember/{ref}/members/{member} | add, idempotent |
| DELETE | /api/groups/promotionalMember/{ref}/members/{member} | remove, idempotent |
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from zeotap_pipelines.sandbox.faults import Faults
from zeotap_pipelines.sandbox.messages import Reply, Request, Undocumented
from zeotap_pipelines.sandbox.oauth import FORM, Client, Tokens
from zeotap_pipelines.sandbox.service import Clock, Holding, Rate, Route, Service
from zeotap_pipelines.sandbox.store import Store

CLIENT_ID = "sandbox"
CLIENT_SECRET = "not-a-secret-kognitiv"
GROUP = "ACTIVE-90D"

_API_VERSION = re.compile(r"\d{4}\.\d+")
_GROUPS = "/api/groups/promotionalMember"
_MEMBER = _GROUPS + "/{ref}/members/{member}"


def number(member: str) -> str:
    """Return a member's id as the service keeps it: a number, however it is written; what is none stays as it is."""
    return str(int(member)) if re.fullmatch(r"[+]?[0-9]+", member) else member


def everyone_but_strangers(member: str) -> bool:
    """Whether a member exists, by default: every id does unless it starts with 'stranger'."""
    return not member.startswith("stranger")


@dataclass(frozen=True, slots=True, kw_only=True)
class KognitivSettings:
    """What a Kognitiv account of the sandbox is like."""

    client: Client = field(default_factory=lambda: Client(client_id=CLIENT_ID, client_secret=CLIENT_SECRET))
    exists: Callable[[str], bool] = everyone_but_strangers
    listing_forbidden: bool = False
    rates: tuple[Rate, ...] = ()


class Kognitiv(Service):
    """The stand-in of Kognitiv."""

    name = "kognitiv"
    tables = ("kognitiv_member", "kognitiv_group", "kognitiv_person")
    schema = """
    CREATE TABLE IF NOT EXISTS kognitiv_group (
        id INTEGER PRIMARY KEY, ref TEXT UNIQUE NOT NULL, name TEXT NOT NULL, external_reference TEXT);
    CREATE TABLE IF NOT EXISTS kognitiv_member (ref TEXT, member TEXT, PRIMARY KEY (ref, member)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS kognitiv_person (member TEXT PRIMARY KEY, standing TEXT NOT NULL) WITHOUT ROWID;
    """

    def __init__(self, store: Store, faults: Faults, clock: Clock, settings: KognitivSettings) -> None:
        self.settings = settings
        self._tokens = Tokens(store, self.name, clock, settings.client)
        super().__init__(store, faults, clock, rates=settings.rates, secrets=frozenset({settings.client.client_secret}))

    def members(self, ref: str = GROUP) -> set[str]:
        """The members of the group with the reference `ref`."""
        return set(self.store.column("SELECT member FROM kognitiv_member WHERE ref = ?", ref))

    def create_group(self, ref: str, *, name: str | None = None, external_reference: str | None = "") -> None:
        """Create a group that is addressed by `ref`.

        The list shows `ref` as its externalReference; another one where given, none where it is None.
        """
        shown = ref if external_reference == "" else external_reference
        self.store.execute(
            "INSERT INTO kognitiv_group (ref, name, external_reference) VALUES (?, ?, ?)", ref, name or ref, shown
        )

    def delete_group(self, ref: str) -> None:
        """Delete a group with its members."""
        with self.store.transaction():
            self.store.execute("DELETE FROM kognitiv_group WHERE ref = ?", ref)
            self.store.execute("DELETE FROM kognitiv_member WHERE ref = ?", ref)

    def put_members(self, ref: str, *members: str) -> None:
        """Members that the group had before anybody used the API."""
        with self.store.transaction():
            for member in members:
                self.store.execute("INSERT OR IGNORE INTO kognitiv_member VALUES (?, ?)", ref, number(member))

    def set_standing(self, member: str, standing: Literal["active", "inactive", "missing"]) -> None:
        """Make a person active, inactive (can't be added) or missing, whatever `exists` says of them."""
        self.store.execute("INSERT OR REPLACE INTO kognitiv_person VALUES (?, ?)", member, standing)

    def seed(self) -> None:
        """One group is there from the start."""
        self.create_group(GROUP, name="Active in the last 90 days")

    def expire_tokens(self) -> None:
        """Make every token invalid."""
        self._tokens.expire()

    def routes(self) -> tuple[Route, ...]:
        """What the contract documents."""
        return (
            Route("PUT", _MEMBER, self._add),
            Route("DELETE", _MEMBER, self._remove),
            Route("GET", _GROUPS, self._list),
            Route("POST", "/Auth/connect/token", self._token, open=True, body=FORM),
        )

    def authenticate(self, request: Request) -> Reply | None:
        """A bearer token that was granted here and hasn't expired; api-version, where sent, is year.number."""
        version = request.header("api-version")
        if version is not None and not _API_VERSION.fullmatch(version):
            raise Undocumented(400, "api-version is not of the form 2025.3")
        why = self._tokens.refusal(request)
        if why is None:
            return None
        return Reply(401, b"", (("www-authenticate", 'Bearer error="invalid_token"'),), why)

    def state(self) -> dict[str, object]:
        """Every group with its members, in order."""
        groups = self.store.execute("SELECT ref, name, external_reference FROM kognitiv_group ORDER BY id")
        return {
            "groups": [
                {"ref": ref, "name": name, "externalReference": shown, "members": sorted(self.members(str(ref)))}
                for ref, name, shown in groups
            ]
        }

    def holdings(self) -> list[Holding]:
        """The groups."""
        return [
            Holding(
                ref,
                self.store.count("SELECT count(*) FROM kognitiv_member WHERE ref = ?", ref),
                tuple(self.store.column("SELECT member FROM kognitiv_member WHERE ref = ? LIMIT 8", ref)),
            )
            for ref in self.store.column("SELECT ref FROM kognitiv_group ORDER BY id")
        ]

    def _token(self, request: Request, _: Mapping[str, str]) -> Reply:
        return self._tokens.grant(request)

    def _list(self, _: Request, __: Mapping[str, str]) -> Reply:
        if self.settings.listing_forbidden:
            return self.refusal(403, "Forbidden")
        rows = self.store.execute("SELECT id, name, external_reference FROM kognitiv_group ORDER BY id")
        return Reply.json(200, {"data": [_group(*row) for row in rows]})

    def _add(self, _: Request, identifiers: Mapping[str, str]) -> Reply:
        ref, member = identifiers["ref"], number(identifiers["member"])
        missing = self._missing(ref, member)
        if missing is not None:
            return missing
        if self._standing(member) == "inactive":
            return self.refusal(400, "Member is not active.")
        self.store.execute("INSERT OR IGNORE INTO kognitiv_member VALUES (?, ?)", ref, member)
        return Reply(204)

    def _remove(self, _: Request, identifiers: Mapping[str, str]) -> Reply:
        ref, member = identifiers["ref"], number(identifiers["member"])
        missing = self._missing(ref, member)
        if missing is not None:
            return missing
        self.store.execute("DELETE FROM kognitiv_member WHERE ref = ? AND member = ?", ref, member)
        return Reply(204)

    def _missing(self, ref: str, member: str) -> Reply | None:
        # One and the same answer for both: the contract gives a client nothing to tell them apart by.
        if not self.store.execute("SELECT 1 FROM kognitiv_group WHERE ref = ?", ref):
            return Reply.json(404, {"message": "Not found."}, note="no such group")
        if self._standing(member) == "missing":
            return Reply.json(404, {"message": "Not found."}, note="no such member")
        return None

    def _standing(self, member: str) -> str:
        known = self.store.column("SELECT standing FROM kognitiv_person WHERE member = ?", member)
        if known:
            return known[0]
        return "active" if self.settings.exists(member) else "missing"


def _group(identity: object, name: object, external_reference: object) -> dict[str, object]:
    entry = {
        "id": identity,
        "name": name,
        "status": "Active",
        "rebuildFrequency": "Manual",
        "lastBuiltTimestamp": "2025-01-01T00:00:00Z",
    }
    return entry if external_reference is None else {**entry, "externalReference": external_reference}
