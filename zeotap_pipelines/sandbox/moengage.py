"""MoEngage, Cohort Sync.

| method | path | meaning |
|---|---|---|
| POST | /v1/integrations/cohortsync | add members to a cohort, which the first add creates, or remove members |
"""

import base64
import binascii
import hashlib
import hmac
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zeotap_pipelines.sandbox.faults import Faults
from zeotap_pipelines.sandbox.kognitiv import everyone_but_strangers
from zeotap_pipelines.sandbox.messages import Reply, Request, Undocumented
from zeotap_pipelines.sandbox.moengage_body import Cohort, Member, Wrong, read
from zeotap_pipelines.sandbox.service import Clock, Holding, Rate, Route, Service
from zeotap_pipelines.sandbox.store import Store

MOENGAGE_APP_ID = "SANDBOXAPP"
MOENGAGE_SECRET = "not-a-secret-moengage"

# Types and messages as documented; those of 404 and 405, which no correct client sees, are ours.
_TYPES = {
    400: "Malformed JSON",
    401: "Authentication required",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Payload too large",
    415: "Unsupported Media Type",
    429: "Rate Limits Exceeded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MoEngageSettings:
    """What a MoEngage account of the sandbox is like; `exists` says whether a uid or an anonymous_id is known."""

    app_id: str = MOENGAGE_APP_ID
    secret: str = MOENGAGE_SECRET
    exists: Callable[[str], bool] = everyone_but_strangers
    max_bytes: int = 128 * 1024
    rates: tuple[Rate, ...] = (Rate(300, 60),)


class MoEngage(Service):
    """The stand-in of MoEngage. What it accepts is in the cohort at once."""

    name = "moengage"
    tables = ("moengage_member", "moengage_cohort", "moengage_asked", "moengage_link")
    # A person is a uid, or an anonymous_id that is linked to none; uid 7 and anonymous_id 7 are two people.
    schema = """
    CREATE TABLE IF NOT EXISTS moengage_cohort (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS moengage_member (
        cohort TEXT, known_by TEXT, person TEXT, PRIMARY KEY (cohort, known_by, person)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS moengage_asked (
        cohort TEXT PRIMARY KEY, timestamp INTEGER NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS moengage_link (anonymous_id TEXT PRIMARY KEY, uid TEXT NOT NULL) WITHOUT ROWID;
    """

    def __init__(self, store: Store, faults: Faults, clock: Clock, settings: MoEngageSettings) -> None:
        self.settings = settings
        super().__init__(store, faults, clock, rates=settings.rates, secrets=frozenset({settings.secret}))

    def members(self, cohort_id: str) -> set[str]:
        """The people in a cohort: their uid, or their anonymous_id where that is linked to none."""
        return {person for _, person in self.persons(cohort_id)}

    def persons(self, cohort_id: str) -> set[tuple[str, str]]:
        """The people in a cohort with what they are known by, such as `("uid", "7")`."""
        found = self.store.execute("SELECT known_by, person FROM moengage_member WHERE cohort = ?", cohort_id)
        return {(str(known_by), str(person)) for known_by, person in found}

    def cohorts(self) -> dict[str, str]:
        """The cohorts: id → name."""
        return {str(one): str(name) for one, name in self.store.execute("SELECT id, name FROM moengage_cohort")}

    def put_members(self, cohort_id: str, *uids: str, name: str = "made by hand") -> None:
        """Members that a cohort had before anybody used the API; `name` is that of a cohort which isn't there yet."""
        with self.store.transaction():
            self.store.execute("INSERT OR IGNORE INTO moengage_cohort VALUES (?, ?, NULL)", cohort_id, name)
            for uid in uids:
                self.store.execute("INSERT OR IGNORE INTO moengage_member VALUES (?, 'uid', ?)", cohort_id, uid)

    def link(self, anonymous_id: str, uid: str) -> None:
        """Somebody registered: the two are one person, who stays where the anonymous one was."""
        with self.store.transaction():
            self.store.execute("INSERT OR REPLACE INTO moengage_link VALUES (?, ?)", anonymous_id, uid)
            self.store.execute(
                "UPDATE OR REPLACE moengage_member SET known_by = 'uid', person = ?"
                " WHERE known_by = 'anonymous_id' AND person = ?",
                uid,
                anonymous_id,
            )

    def routes(self) -> tuple[Route, ...]:
        """What the contract documents."""
        return (Route("POST", "/v1/integrations/cohortsync", self._sync, body=("application/json",)),)

    def authenticate(self, request: Request) -> Reply | None:
        """Basic credentials, and MOE-APPKEY with the same app id."""
        app_id, secret = _basic(request.header("authorization"))
        key = request.header("moe-appkey")
        if key is None:
            raise Undocumented(401, "no MOE-APPKEY header")
        if key != app_id:
            return self._error(
                401,
                "MOE-APPKEY is not the user of Basic",
                kind="Mismatch",
                violation="MOE-APPKEY is not the Basic user",
            )
        known = (app_id, self.settings.app_id), (secret, self.settings.secret)
        if all(hmac.compare_digest(given.encode(), right.encode()) for given, right in known):
            return None
        return self._error(401, "The APP_ID or the secret is not valid")

    def refusal(self, status: int, message: str) -> Reply:
        """An error as MoEngage gives it."""
        return self._error(status, message)

    def state(self) -> dict[str, object]:
        """Every cohort with its members, in order."""
        cohorts = self.store.execute("SELECT id, name, description FROM moengage_cohort ORDER BY id")
        return {
            "cohorts": [
                {"id": one, "name": name, "description": text, "members": sorted(self.members(str(one)))}
                for one, name, text in cohorts
            ]
        }

    def holdings(self) -> list[Holding]:
        """The cohorts."""
        return [
            Holding(
                f"{name} ({one})",
                self.store.count("SELECT count(*) FROM moengage_member WHERE cohort = ?", one),
                tuple(self.store.column("SELECT person FROM moengage_member WHERE cohort = ? LIMIT 8", one)),
            )
            for one, name in sorted(self.cohorts().items())
        ]

    def _sync(self, request: Request, _: Mapping[str, str]) -> Reply:
        try:
            cohort = read(request.json())
            self._take_in_order(cohort, hashlib.sha256(request.body).hexdigest())
        except Wrong as wrong:
            said = f"{wrong.attribute} {wrong.what}"
            # An empty object can mean nobody: it is how a client may try its credentials, and no violation.
            tried = request.body.strip() == b"{}"
            return self._error(400, said, kind=wrong.kind, attribute=wrong.attribute, violation=None if tried else said)
        if len(request.body) > self.settings.max_bytes:
            return self._error(413, "Payload can not exceed 128KB")
        people = [self._resolve(member) for member in cohort.members]
        found = [person for person in people if person is not None]
        if cohort.action == "add_members":
            self._add(cohort, found)
        else:
            self._remove(cohort, found)
        strangers = len(people) - len(found)
        answer = {"status": "success", "message": "Your request has been accepted and will be processed soon"}
        return Reply.json(200, answer, note=f"{strangers} of {len(people)} unmatched" if strangers else "")

    def _take_in_order(self, cohort: Cohort, digest: str) -> None:
        last = self.store.execute("SELECT timestamp, digest FROM moengage_asked WHERE cohort = ?", cohort.id)
        if last:
            latest, same = int(str(last[0][0])), last[0][1] == digest
            if cohort.timestamp < latest or (cohort.timestamp == latest and not same):
                raise Wrong("timestamp", "is not after that of the cohort's request before")
        # Also of a request that turns out too large: each of its halves takes a time of its own.
        self.store.execute(
            "INSERT OR REPLACE INTO moengage_asked VALUES (?, ?, ?)", cohort.id, cohort.timestamp, digest
        )

    def _resolve(self, member: Member) -> tuple[str, str] | None:
        if member.uid is not None and self.settings.exists(member.uid):
            return "uid", member.uid
        if member.anonymous_id is None:
            return None
        linked = self.store.column("SELECT uid FROM moengage_link WHERE anonymous_id = ?", member.anonymous_id)
        if linked:
            return "uid", linked[0]
        return ("anonymous_id", member.anonymous_id) if self.settings.exists(member.anonymous_id) else None

    def _add(self, cohort: Cohort, people: list[tuple[str, str]]) -> None:
        self.store.execute(
            "INSERT INTO moengage_cohort VALUES (?, ?, ?) ON CONFLICT (id)"
            " DO UPDATE SET name = excluded.name, description = coalesce(excluded.description, description)",
            cohort.id,
            cohort.name,
            cohort.description,
        )
        for known_by, person in people:
            self.store.execute("INSERT OR IGNORE INTO moengage_member VALUES (?, ?, ?)", cohort.id, known_by, person)

    def _remove(self, cohort: Cohort, people: list[tuple[str, str]]) -> None:
        self.store.execute(
            "UPDATE moengage_cohort SET name = ?, description = coalesce(?, description) WHERE id = ?",
            cohort.name,
            cohort.description,
            cohort.id,
        )
        for known_by, person in people:
            self.store.execute(
                "DELETE FROM moengage_member WHERE cohort = ? AND known_by = ? AND person = ?",
                cohort.id,
                known_by,
                person,
            )

    def _error(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        attribute: str | None = None,
        violation: str | None = None,
    ) -> Reply:
        kind = kind or _TYPES.get(status, "Internal Server Error")
        error = {"message": message, "type": kind, "request_id": uuid.uuid4().hex}
        if attribute is not None:
            error["attribute"] = attribute
        reply = Reply.json(status, {"status": "fail", "error": error})
        return Reply(status, reply.body, reply.headers, f"{kind}, request_id {error['request_id']}", violation)


def _basic(authorization: str | None) -> tuple[str, str]:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme != "Basic":
        raise Undocumented(401, "no Authorization: Basic header")
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Undocumented(401, "the Basic credentials are not base64") from None
    if not colon:
        raise Undocumented(401, "the Basic credentials have no colon")
    return user, password
