"""Oracle CrowdTwist, REST API v2.

| method | path | meaning |
|---|---|---|
| GET | /v2/activities | the activities |
| POST | /v2/users | create a user |
| PUT | /v2/users/{user_id}?id_type= | change a user, in part |
| POST | /v2/users/{user_id}/activities?id_type= | credit an activity, each time it is asked |
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Literal

from zeotap_pipelines.sandbox.crowdtwist_auth import CrowdTwistKeys
from zeotap_pipelines.sandbox.crowdtwist_credits import CREDIT_SCHEMA, Activity, Credit, Credits, read_credit
from zeotap_pipelines.sandbox.crowdtwist_users import (
    FIELD_OF,
    USER_SCHEMA,
    Refused,
    Users,
    full,
    looks_like_email,
    read_user,
)
from zeotap_pipelines.sandbox.faults import Faults
from zeotap_pipelines.sandbox.messages import Reply, Request, Undocumented
from zeotap_pipelines.sandbox.service import Clock, Holding, Rate, Route, Service
from zeotap_pipelines.sandbox.store import Store

_JSON = ("application/json",)
_ID_TYPE = frozenset({"id_type"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdTwistSettings:
    """What a CrowdTwist account of the sandbox is like.

    `errors_as` is the shape of `error` in an error's body, `refused_with` the status of the named errors; the vendor
    says neither.
    """

    keys: CrowdTwistKeys = field(default_factory=CrowdTwistKeys)
    custom_attributes: frozenset[str] = frozenset({"segment", "lifetime_value"})
    activities: tuple[Activity, ...] = (
        Activity(id="1001", name="Purchase", points=10),
        Activity(id="1002", name="Newsletter", points=50),
    )
    repeat_window: float | None = None
    errors_as: Literal["text", "array", "object"] = "text"
    refused_with: int = 400
    rates: tuple[Rate, ...] = ()
    max_in_flight: int | None = None
    retry_after_as: Literal["seconds", "date"] = "seconds"


class CrowdTwist(Service):
    """The stand-in of CrowdTwist."""

    name = "crowdtwist"
    tables = ("crowdtwist_credit", "crowdtwist_user")
    schema = USER_SCHEMA + CREDIT_SCHEMA
    common_query = frozenset({"api_key"})

    def __init__(self, store: Store, faults: Faults, clock: Clock, settings: CrowdTwistSettings) -> None:
        self.settings = settings
        self._users = Users(store, settings.custom_attributes)
        self._credits = Credits(store, settings.activities, settings.repeat_window)
        super().__init__(
            store,
            faults,
            clock,
            rates=settings.rates,
            max_in_flight=settings.max_in_flight,
            secrets=frozenset({settings.keys.api_key, settings.keys.private_key}),
        )

    def user(self, id_type: str, value: str) -> dict[str, Any] | None:
        """The user that an identifier names: `id` and the fields that were given."""
        return self._users.find(id_type, value)

    def users(self) -> list[dict[str, Any]]:
        """Every user, oldest first."""
        return self._users.all()

    def put_user(self, **fields: object) -> int:
        """A user who was there before anybody used the API; the fields are stored unchecked. Returns the id."""
        return int(self._users.write(None, fields)["id"])

    def credits(self, user: int | None = None) -> list[Credit]:
        """Every credit that was accepted, or those of the user with an id, oldest first."""
        return self._credits.all(user)

    def points(self, user: int | None = None) -> int:
        """The points that were awarded to everybody, or to the user with an id."""
        return sum(credit.points for credit in self.credits(user))

    def counts(self) -> Counter[tuple[int, str]]:
        """How many credits were accepted, by user and activity."""
        return Counter((credit.user, credit.activity_id) for credit in self.credits())

    def doubles(self, event_id: str | None = None) -> Counter[object]:
        """The events that were credited more than once, and how often.

        An event is known by what the client wrote into `extra_data` under the name `event_id`, else by user, activity,
        date and points, which two events may well share.
        """
        return self._credits.doubles(event_id)

    def routes(self) -> tuple[Route, ...]:
        """What the contract documents."""
        user = "/v2/users/{user_id}"
        return (
            Route("GET", "/v2/activities", self._list),
            Route("POST", "/v2/users", self._create, body=_JSON),
            Route("PUT", user, self._update, body=_JSON, query=_ID_TYPE),
            Route("POST", f"{user}/activities", self._credit, body=_JSON, query=_ID_TYPE),
        )

    def authenticate(self, request: Request) -> Reply | None:
        """One of the three kinds of credentials; a GET carries no content type."""
        if request.method == "GET" and request.header("content-type") is not None:
            raise Undocumented(415, "a content type on GET")
        why = self.settings.keys.refusal(request, self.clock())
        if why is None:
            return None
        reply = self.refusal(401, f"Authentication failed: {why}")
        return Reply(reply.status, reply.body, reply.headers, why)

    def refusal(self, status: int, message: str) -> Reply:
        """An error in the shape that the account gives its errors."""
        # A path that doesn't exist and a user who doesn't share the code: only the message tells them apart.
        code = "page_not_found" if status == 404 else HTTPStatus(status).phrase.lower().replace(" ", "_")
        match self.settings.errors_as:
            case "array":
                return Reply.json(status, {"error": [message]})
            case "object":
                return Reply.json(status, {"error": {"code": code, "message": message}})
            case _:
                return Reply.json(status, {"error": code, "message": message})

    def state(self) -> dict[str, object]:
        """Every user with the points that were awarded."""
        points: Counter[int] = Counter()
        for credit in self.credits():
            points[credit.user] += credit.points
        return {"users": [{**user, "points": points[user["id"]]} for user in self.users()], "points": points.total()}

    def holdings(self) -> list[Holding]:
        """The users, and the credits of each activity."""
        count, column = self.store.count, self.store.column
        users = Holding(
            "users",
            count("SELECT count(*) FROM crowdtwist_user"),
            tuple(
                column("SELECT coalesce(email_address, third_party_id, id) FROM crowdtwist_user ORDER BY id LIMIT 8")
            ),
        )
        activities = [
            Holding(
                f"credits for {activity.name} ({activity.id})",
                count("SELECT count(*) FROM crowdtwist_credit WHERE activity_id = ?", activity.id),
                (),
            )
            for activity in self.settings.activities
        ]
        return [users, *activities]

    def _list(self, _: Request, __: Mapping[str, str]) -> Reply:
        listed = [{"id": one.id, "name": one.name, "points": one.points} for one in self.settings.activities]
        return Reply.json(200, listed)

    def _create(self, request: Request, _: Mapping[str, str]) -> Reply:
        try:
            return Reply.json(200, full(self._users.create(read_user(request.json()))))
        except Refused as refused:
            return self._no(refused)

    def _update(self, request: Request, identifiers: Mapping[str, str]) -> Reply:
        given = read_user(request.json())
        user = self._addressed(request, identifiers["user_id"])
        if user is None:
            return self._no_user()
        try:
            return Reply.json(200, full(self._users.update(user, given)))
        except Refused as refused:
            return self._no(refused)

    def _credit(self, request: Request, identifiers: Mapping[str, str]) -> Reply:
        given = read_credit(request.json())
        user = self._addressed(request, identifiers["user_id"])
        if user is None:
            return self._no_user()
        try:
            return Reply.json(200, {"awarded": self._credits.add(user["id"], given, self.clock())})
        except Refused as refused:
            return self._no(refused)

    def _addressed(self, request: Request, value: str) -> dict[str, Any] | None:
        id_type = request.parameters().get("id_type")
        if id_type is None:
            raise Undocumented(400, "no id_type: the service would read a CrowdTwist id")
        if id_type not in FIELD_OF:
            raise Undocumented(400, f"id_type is not {' or '.join(FIELD_OF)}")
        if id_type == "email" and not looks_like_email(value):
            raise Undocumented(400, "user_id is not an e-mail address, and id_type says that it is")
        return self._users.find(id_type, value)

    def _no(self, refused: Refused) -> Reply:
        reply = self.refusal(self.settings.refused_with, str(refused))
        return Reply(reply.status, reply.body, reply.headers, str(refused))

    def _no_user(self) -> Reply:
        # The one body that the contract has to the letter, whatever shape other errors have.
        return Reply.json(404, {"error": "page_not_found", "message": "User does not exist."}, note="no such user")

    def _refuse_excess(self, now: float) -> Reply | None:
        reply = super()._refuse_excess(now)
        if reply is None or self.settings.retry_after_as == "seconds":
            return reply
        headers = tuple(
            (name, formatdate(now + float(text), usegmt=True) if name == "retry-after" else text)
            for name, text in reply.headers
        )
        return Reply(reply.status, reply.body, headers, reply.note)
