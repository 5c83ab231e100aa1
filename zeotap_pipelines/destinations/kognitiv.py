"""
Kognitiv Inspire: promotional member groups.

    POST   {origin}/Auth/connect/token                              a token for client credentials
    GET    /api/groups/promotionalMember                            the groups
    PUT    /api/groups/promotionalMember/{ref}/members/{memberID}   adds
    DELETE /api/groups/promotionalMember/{ref}/members/{memberID}   removes

One member per request. No rate limit is published, so requests go one at a time.

Assumption (repeatable): adding a present member and removing an absent one change nothing,
as the vendor documents for the SOAP API only, so both may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import httpx
from pydantic import Field, SecretStr, field_validator

from ..errors import FixConnection, FixDeclaration, FixTarget, TryAgainLater
from ..model import Batch, Call, Conversation, Fate, Halt, Outcome, Question, Receipt, Verb
from ..naming import segment
from .answers import UNREADABLE
from .auth import ClientCredentials
from .base import Connection, Limits, Target, Visit, safe_url

GROUPS = "/api/groups/promotionalMember"

REGIONS = {
    "us": "https://app.kognitivloyalty.com",
    "ca": "https://ca.kognitivloyalty.com",
    "aus": "https://aus.kognitivloyalty.com",
}
"""The vendor's hosts by region: US, Canada and EMEA, Asia-Pacific."""

MATCHED_BY = ("externalReference", "name")
"""Assumption (group-match): the list's entries carry the group's external reference, or else it equals their name."""


class Kognitiv(Connection):
    """One Kognitiv Inspire account."""

    service: ClassVar[str] = "kognitiv"
    credentials: ClassVar[tuple[str, ...]] = ("client_id",)
    unverified: ClassVar[str] = "the permission to add and remove members"

    base_url: str = Field(
        REGIONS["us"], description="For example https://app.kognitivloyalty.com, or a region: us, ca, aus"
    )
    client_id: str = Field(description="Settings > API Security Tokens > Client ID")
    client_secret: SecretStr = Field(description="Settings > API Security Tokens > Client Secret")
    token_url: str | None = Field(None, description="Where tokens are fetched, if not at {base_url}/Auth/connect/token")
    scope: str | None = Field(None, description="The scope to ask for; sent only when it is set")
    # Assumption (token-credentials): in the form, unless the setting says otherwise.
    credentials_in: Literal["body", "header"] = Field(
        "body", description="How the token request carries the credentials"
    )
    api_version: str | None = Field(None, description="The api-version header; sent only when it is set")
    concurrency: int = Field(1, ge=1, le=100, description="Requests at once; Kognitiv's document asks for one")
    requests_per_second: float | None = Field(None, gt=0, description="What Kognitiv agreed with you, if it did")

    @field_validator("base_url", mode="before")
    @classmethod
    def _region(cls, value: str) -> str:
        return REGIONS.get(value, value)

    @field_validator("token_url")
    @classmethod
    def _token_url_is_safe(cls, value: str | None) -> str | None:
        return value and safe_url(value)

    def auth(self) -> httpx.Auth:
        """Return the OAuth 2.0 client credentials flow."""
        return ClientCredentials(
            self.token_url or f"{self.base_url}/Auth/connect/token",
            self.client_id,
            self.client_secret,
            scope=self.scope,
            credentials_in=self.credentials_in,
            settings="client_id and client_secret (Kognitiv: Settings > API Security Tokens)",
        )

    def limits(self) -> Limits:
        """Return the concurrency and, where agreed, the rate."""
        return Limits(concurrency=self.concurrency, per_second=self.requests_per_second)

    def headers(self) -> dict[str, str]:
        """Return the api-version header where it is set."""
        return {"api-version": self.api_version} if self.api_version else {}

    def test(self) -> Question:
        """Ask for the list of groups: credentials, host and the permission to read."""
        response = yield Call("GET", GROUPS)
        if response.status_code == httpx.codes.FORBIDDEN:
            raise FixConnection("Kognitiv refuses to list the groups: give the API token the permission to read them")
        if not response.is_success:
            raise FixConnection(
                f"Kognitiv answers HTTP {response.status_code} at {GROUPS}: check base_url ({self.base_url})"
            )


@dataclass(frozen=True)
class PromotionalMemberGroup(Target):
    """The members of one promotional member group, named by its external reference."""

    group: str

    service = "kognitiv"
    kind = "promotional_member_group"
    verbs = frozenset({Verb.ADD, Verb.REMOVE})
    identity = ("member_internal_id",)
    # Assumption (number-ids): 0100 and 100 are one member, since an internal member id is a 32-bit integer.
    numbers = frozenset({"member_internal_id"})
    default_fields = ("member_internal_id",)
    notes = (
        "membership may take some minutes to show in Kognitiv's console; inactive members can't be added",
        "a group that Kognitiv rebuilds by a rule may undo what was delivered: use a manual group",
    )

    @property
    def name(self) -> str:
        """The group's external reference."""
        return self.group

    def __post_init__(self) -> None:
        if self.group.strip(".") == "":
            raise FixDeclaration(f"group {self.group!r} is no external reference of a promotional member group")

    def invalid(self) -> Iterable[tuple[str, str]]:
        """Refuse ids that a URL takes for a way to another folder."""
        yield "member_internal_id consists of dots", "regexp_full_match({member_internal_id}, '[.]+')"

    def odd(self) -> Iterable[tuple[str, str]]:
        """Warn about member ids that aren't numbers: Kognitiv's internal ids are 32-bit integers."""
        yield (
            "member_internal_id is not a number: Kognitiv's internal member ids are, external ids are not found",
            "NOT regexp_full_match({member_internal_id}, '[0-9]{1,10}')",
        )

    def preflight(self, visit: Visit) -> Question:
        """Ask whether the group exists, as far as the token may list groups."""
        response = yield Call("GET", GROUPS)
        self._learn(response, visit)

    def converse(self, batch: Batch, visit: Visit) -> Conversation:
        """Add or remove one member."""
        [operation] = batch
        member = segment(operation.fields["member_internal_id"])
        method = "PUT" if batch.verb is Verb.ADD else "DELETE"
        response = yield Call(method, f"{GROUPS}/{segment(self.group)}/members/{member}")
        if response.status_code != httpx.codes.NOT_FOUND:
            return Receipt(self._explained(response))

        # Assumption (not-found): a 404 means the member or the group, and doesn't tell which.
        # Ask once a run whether the group is (still) there.
        if not visit.known.get("asked_after_404"):
            visit.known["asked_after_404"] = True
            listing = yield Call("GET", GROUPS)
            try:
                self._learn(listing, visit)
            except (FixTarget, FixConnection) as error:
                raise Halt(Receipt(Outcome(Fate.DEFERRED, str(error), 404, untouched=True)), error) from error
        if batch.verb is Verb.ADD:
            reason = "member not found: check that member_internal_id is Kognitiv's internal member id"
            if not visit.known.get("group_exists"):
                # Nobody said that the group is there: the member is not to be blamed alone.
                reason = (
                    f"member or group not found: check that group {self.group!r} is the external reference of a group, "
                    "and that member_internal_id is Kognitiv's internal member id"
                )
            return Receipt(Outcome(Fate.REJECTED, reason, 404, untouched=True))
        if visit.known.get("group_exists"):
            return Receipt(Outcome(Fate.ACCEPTED, "was not in the group", 404))
        # A wrong base URL answers 404 to everything: it must not empty the ledger.
        unclear = TryAgainLater(
            f"Kognitiv answers 404 to a removal from group {self.group!r}, and the list of groups does not confirm "
            "that the group exists: check the group's external reference and base_url"
        )
        raise Halt(Receipt(Outcome(Fate.DEFERRED, "404, and the group could not be confirmed", 404)), unclear)

    def _explained(self, response: httpx.Response) -> Outcome:
        outcome = self.judge(response)
        if response.status_code == httpx.codes.FORBIDDEN:
            # It speaks of the token: whoever is asked next is refused as well, and no member is to blame.
            refused = FixConnection(
                f"Kognitiv forbids changing the members of group {self.group!r} ({outcome.reason}): "
                "give the API token the permission to add and remove members"
            )
            raise Halt(Receipt(Outcome(Fate.DEFERRED, outcome.reason, outcome.status, untouched=True)), refused)
        if outcome.fate is Fate.REJECTED:
            reason = f"{outcome.reason} (inactive members can't be added to groups)"
            return Outcome(Fate.REJECTED, reason, outcome.status, untouched=True)
        if response.is_server_error:
            # Members are named in the file of outcomes only: a reason is shown in logs.
            support = f"where this lasts, give Kognitiv's support the group {self.group!r} and the members' ids"
            return replace(outcome, reason=f"{outcome.reason} ({support}, which are in the file of outcomes)")
        return outcome

    def _learn(self, response: httpx.Response, visit: Visit) -> None:
        """
        Remember whether the group exists.

        Raises FixTarget when the list is readable and complete, and lacks it; FixConnection where there is no list.
        """
        if response.status_code == httpx.codes.NOT_FOUND:
            raise FixConnection(f"Kognitiv's list of groups is not found (HTTP 404 at {GROUPS}): check base_url")
        groups = _listed(response)
        if groups is None:
            return
        for known_as in MATCHED_BY:
            if any(group.get(known_as) == self.group for group in groups):
                visit.known["group_exists"] = True
                return
        visit.known["group_exists"] = False
        if all(group.get("externalReference") for group in groups):
            raise FixTarget(
                f"Kognitiv has no promotional member group with the external reference {self.group!r}: "
                "check the reference under the promotional member group settings"
            )


def _listed(response: httpx.Response) -> list[dict[str, Any]] | None:
    """Return the groups of a listing, or None where it can't be read."""
    if not response.is_success:
        return None
    try:
        found = response.json()["data"]
    except (*UNREADABLE, KeyError, TypeError):
        return None
    return found if isinstance(found, list) and all(isinstance(group, dict) for group in found) else None
