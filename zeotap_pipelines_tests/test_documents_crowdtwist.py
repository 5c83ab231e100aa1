"""What CrowdTwist's document says, over the whole way from snapshot to profile and credit."""

from datetime import UTC, date, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow
import pytest
from pydantic import SecretStr

from zeotap_pipelines.assets.observability import of_summary
from zeotap_pipelines.destinations.crowdtwist import UserProfile
from zeotap_pipelines.destinations.crowdtwist_activities import ActivityCredit
from zeotap_pipelines.destinations.crowdtwist_auth import Signature
from zeotap_pipelines.diff.guards import MANY
from zeotap_pipelines.diff.plan import Level
from zeotap_pipelines.errors import FixConnection, FixDeclaration, FixTarget
from zeotap_pipelines.mapping import Field
from zeotap_pipelines.model import Fate, Mode
from zeotap_pipelines.sandbox import CROWDTWIST_PUBLIC_KEY, Activity, Cap, CrowdTwistSettings, Fault, Sandbox
from zeotap_pipelines_tests.specimens import crowdtwist
from zeotap_pipelines_tests.test_documents_kognitiv import outcomes
from zeotap_pipelines_tests.world import Rows, Specimen, World, day

NAME = {"first_name": "first", "last_name": "last", "postal_code": "zip"}
CAPPED = Activity(id="1001", name="Purchase", points=10, cap=Cap(awards=1, seconds=86_400))


def profiles(mode: Mode = Mode.UPSERT, **mapping: str) -> Specimen:
    return Specimen(
        target=UserProfile("loyalty"),
        connection=crowdtwist(),
        mode=mode,
        mapping={"user_id": "mail", **NAME, **mapping},
        person=lambda who: {"mail": f"{who}@example.com", "first": who, "last": "Lovelace", "zip": "10001"},
        held=lambda sandbox: {user["email_address"]: user for user in sandbox.crowdtwist.users()},
        asks="/v2/users",
    )


def credits(activity: str | None = "1001", sandbox: Any = None, **settings: Any) -> Specimen:
    """Purchases of Ann, by their numbers."""

    def made(clock: Any) -> Sandbox:
        found = Sandbox(clock=clock.unix, crowdtwist=sandbox or CrowdTwistSettings())
        found.crowdtwist.put_user(email_address="ann@example.com", first_name="Ann", last_name="L")
        return found

    constant: Any = Field(constant=activity) if activity else "activity"
    return Specimen(
        target=ActivityCredit("purchases", **settings),
        connection=crowdtwist(),
        mode=Mode.INSERT,
        mapping={"event_id": "event", "user_id": "mail", "activity_id": constant},
        person=lambda who: {"event": who, "mail": "ann@example.com"},
        held=lambda sandbox: len(sandbox.crowdtwist.credits()),
        sandbox=made,
        asks="/activities",
    )


def told(world: World) -> str:
    """What the files of outcomes say, and the notes of the summary."""
    return " ".join(str(reason) for *_, reason in outcomes(world.state))


def test_every_default_field_arrives_as_the_service_takes_it(tmp_path: Path) -> None:
    """gender_id and lang_pref as they are, dates as Unix seconds, flags as 0 and 1, the postal code as text."""
    more = {
        "email_address": "mail",
        "date_of_birth": "born",
        "gender_id": "gender",
        "lang_pref": "language",
        "mobile_phone_number": "phone",
        "third_party_id": "number",
        "receive_email_updates": "wants",
    }
    world = World(tmp_path, profiles(**more))
    row: dict[str, list[Any]] = {
        "mail": ["ann@example.com"],
        "first": ["Ann"],
        "last": ["Lovelace"],
        "zip": ["01001"],
        "born": [date(1980, 2, 29)],
        "gender": [2],
        "language": ["en_US"],
        "phone": ["+12125550100"],
        "number": ["C-7"],
        "wants": [False],
    }
    assert world.deliver(Rows(row)).complete
    user = world.held["ann@example.com"]
    assert user["gender_id"] == "2" and user["lang_pref"] == "en_US"
    assert user["date_of_birth"] == 320_630_400 and user["receive_email_updates"] == 0
    assert user["postal_code"] == "01001" and user["third_party_id"] == "C-7"
    assert user["mobile_phone_number"] == "+12125550100"
    assert not world.sandbox.violations


def test_spaces_around_an_address_are_no_part_of_it_wherever_it_is_mapped(tmp_path: Path) -> None:
    world = World(tmp_path, profiles(email_address="mail"))
    row = {"mail": [" ann@example.com "], "first": ["Ann"], "last": ["Lovelace"], "zip": ["10001"]}
    assert world.deliver(Rows(row)).fates == {Fate.ACCEPTED: 1}, "a create"
    assert world.deliver(Rows(row | {"last": ["King"]}), day(1)).fates == {Fate.ACCEPTED: 1}, "an update"
    assert world.held["ann@example.com"]["last_name"] == "King" and len(world.held) == 1
    assert world.deliver(Rows(row | {"mail": ["ann@example.com"], "last": ["King"]}), day(2)).asked == 0


def test_a_city_abroad_arrives_with_its_country(tmp_path: Path) -> None:
    mapping = {"country_code": "country", "city_name": "city"}
    world = World(tmp_path, profiles(**mapping))
    row = {"mail": ["a@x.de"], "first": ["A"], "last": ["B"], "zip": ["10115"], "country": ["DE"], "city": ["Berlin"]}
    assert world.deliver(Rows(row)).complete
    assert world.held["a@x.de"]["city_name"] == "Berlin" and world.held["a@x.de"]["country_code"] == "DE"


def test_a_row_is_one_request_and_an_upsert_of_a_new_user_two(tmp_path: Path) -> None:
    world = World(tmp_path, profiles())
    world.deliver(["ann", "bob"])
    methods = sorted(entry.method for entry in world.sandbox.log)
    assert methods == ["GET", "POST", "POST", "PUT", "PUT"]
    world.renamed(reassert_after_hours=0.0)
    world.clock.pass_(60)
    world.deliver(["ann", "bob"], day(1))
    methods = sorted(entry.method for entry in world.sandbox.log)
    assert methods == ["GET"] * 2 + ["POST"] * 2 + ["PUT"] * 4


@pytest.mark.parametrize(
    ("custom", "attributes", "remedy"),
    [
        ("tier", frozenset({"segment"}), "names are case-sensitive and must match exactly"),
        ("Segment", frozenset({"segment"}), "names are case-sensitive and must match exactly"),
        ("segment", frozenset(), "add the custom attribute in CrowdTwist Control Center"),
    ],
)
def test_a_custom_attribute_that_was_not_set_up_rejects_the_row_with_the_remedy(
    tmp_path: Path, custom: str, attributes: frozenset[str], remedy: str
) -> None:
    world = World(tmp_path, profiles(**{custom: "last"}))
    world.sandbox = Sandbox(clock=world.clock.unix, crowdtwist=CrowdTwistSettings(custom_attributes=attributes))
    assert world.deliver(["ann"]).fates == {Fate.REJECTED: 1}
    assert remedy in told(world)


def test_a_known_address_rejects_an_insert_and_says_to_upsert(tmp_path: Path) -> None:
    world = World(tmp_path, profiles(Mode.INSERT))
    world.sandbox.crowdtwist.put_user(email_address="ann@example.com", first_name="A", last_name="L")
    assert world.deliver(["ann", "bob"]).fates == {Fate.REJECTED: 1, Fate.ACCEPTED: 1}
    assert "use the mode upsert or update" in told(world)


def test_a_user_without_a_location_is_rejected_with_the_remedy(tmp_path: Path) -> None:
    world = World(tmp_path, profiles())
    row = {"mail": ["ann@example.com"], "first": ["A"], "last": ["B"], "zip": [None]}
    assert world.deliver(Rows(row)).fates == {Fate.REJECTED: 1}
    assert "map a 5-digit postal_code for US users, country_code with city_id or city_name" in told(world)


def test_an_update_of_a_user_who_is_not_found_says_to_look_at_the_identifier_type(tmp_path: Path) -> None:
    world = World(tmp_path, profiles(Mode.UPDATE))
    assert world.deliver(["ann"]).fates == {Fate.REJECTED: 1}
    assert "check that it is what User Identifier Type (id_type) says" in told(world)


def test_a_postal_code_that_can_not_be_is_rejected_before_it_is_sent(tmp_path: Path) -> None:
    world = World(tmp_path, profiles())
    codes = ["10001", "1000", "K1A0B1"]
    row = {"mail": [f"p{n}@x.de" for n in range(3)], "first": ["A"] * 3, "last": ["B"] * 3, "zip": codes}
    assert world.deliver(Rows(row)).fates == {Fate.ACCEPTED: 1, Fate.REJECTED: 2}
    assert [entry.method for entry in world.sandbox.log] == ["GET", "PUT", "POST"]
    assert "a US postal_code has 5 or 9 digits" in told(world)
    assert len(world.held) == 1


def test_points_and_date_of_a_credit_are_sent_where_they_are_mapped(tmp_path: Path) -> None:
    world = World(tmp_path, credits())
    world.deliver(["1"])
    [plain] = world.sandbox.crowdtwist.credits()
    assert (plain.num_points, plain.activity_date) == (None, None)
    more = {"num_points": Field("points"), "activity_date": Field("at")}
    world.renamed(mapping={**world.sync.mapping, **more})
    row = {"event": ["2"], "mail": ["ann@example.com"], "points": [25], "at": [datetime(1997, 1, 2)]}
    world.deliver(Rows(row, {"at": pyarrow.timestamp("us")}), day(1))
    [_, backdated] = world.sandbox.crowdtwist.credits()
    assert (backdated.num_points, backdated.points, backdated.activity_date) == (25, 25, 852_163_200)


def test_a_credit_beyond_the_activitys_cap_is_accepted_with_the_reason(tmp_path: Path) -> None:
    capped = CrowdTwistSettings(activities=(CAPPED,))
    world = World(tmp_path, credits(sandbox=capped))
    summary = world.deliver(["1", "2"])
    assert summary.fates == {Fate.ACCEPTED: 2} and summary.complete
    [(fate, reason)] = summary.reasons
    assert fate is Fate.ACCEPTED and "not awarded: frequency caps" in reason
    assert "frequency caps of the activity" in told(world)
    notes = of_summary(summary, world.sync, world.state, "run", None)["notes"].value
    assert "withheld by frequency caps" in notes
    assert world.carry_out().asked == 0, "a credit that awarded nothing is not asked again"


def test_an_activity_that_does_not_exist_is_named_before_anything_is_credited(tmp_path: Path) -> None:
    world = World(tmp_path, credits("9999"))
    with pytest.raises(FixTarget, match="no activity '9999': check the activity_id in Control Center"):
        world.deliver(["1"])
    assert world.held == 0


@pytest.mark.parametrize("status", [500, 503])
def test_trouble_on_a_credit_is_asked_again_only_where_the_status_is_called_safe(tmp_path: Path, status: int) -> None:
    """The document retries any 5xx; a credit that may have happened is not repeated unless `safe_statuses` says so."""
    trouble = Fault(kind="status", status=status, path="/activities$", method="POST", times=1)
    careful = World(tmp_path / "careful", credits())
    careful.sandbox.faults.add(trouble)
    assert careful.deliver(["1"]).fates == {Fate.IN_DOUBT: 1}
    assert careful.carry_out().asked == 0 and careful.held == 0
    assured = World(tmp_path / "assured", credits(safe_statuses=frozenset({status})))
    assured.sandbox.faults.add(trouble)
    assert assured.deliver(["1"]).fates == {Fate.DEFERRED: 1}
    assert assured.carry_out().fates == {Fate.ACCEPTED: 1} and assured.held == 1


def test_trouble_on_a_profile_is_asked_again_at_most_three_times(tmp_path: Path) -> None:
    world = World(tmp_path, profiles(Mode.UPDATE))
    world.sandbox.faults.add(Fault(kind="html", path="/v2/users/"))
    assert world.deliver(["ann"]).fates == {Fate.DEFERRED: 1}
    assert len(world.sandbox.requests("crowdtwist", method="PUT")) == 1 + crowdtwist().retries


def test_a_create_whose_answer_was_lost_is_settled_when_it_comes_back_as_taken(tmp_path: Path) -> None:
    world = World(tmp_path, profiles(Mode.INSERT))
    world.sandbox.faults.add(Fault(kind="reset_after", method="POST", times=1))
    assert world.deliver(["ann"]).fates == {Fate.ACCEPTED: 1}
    assert "created by an earlier attempt" in told(world)
    assert set(world.held) == {"ann@example.com"}


def test_refused_credentials_name_the_settings_and_the_clock(tmp_path: Path) -> None:
    world = World(tmp_path / "key", profiles())
    world.connection = crowdtwist(api_key="wrong")
    with pytest.raises(FixConnection, match="check api_key"):
        world.deliver(["ann"])
    world = World(tmp_path / "pair", profiles())
    world.connection = crowdtwist(
        api_key=None, authentication="hmac", public_key=CROWDTWIST_PUBLIC_KEY, private_key="wrong"
    )
    with pytest.raises(FixConnection, match="check public_key and private_key"):
        world.deliver(["ann"])
    assert not world.asked, "nobody was asked before the key was known to be right"
    auth = Signature("p", SecretStr("s"), now=lambda: 0.0)
    flow = auth.auth_flow(httpx.Request("GET", "https://api123.crowdtwist.com/v2/activities"))
    next(flow)
    with pytest.raises(FixConnection, match=r"20 minutes behind the service's.*synchronize the system clock"):
        flow.send(httpx.Response(401, headers={"Date": format_datetime(datetime.fromtimestamp(1200, UTC))}))


def test_another_kind_of_user_id_is_another_user_and_told_anew(tmp_path: Path) -> None:
    world = World(tmp_path, profiles())
    world.deliver(["ann"])
    assert world.plan().operations == 0
    world.connection = crowdtwist(id_type="third_party_id")
    world.renamed(target=UserProfile("loyalty", "third_party_id"))
    assert world.plan().count("changed") == 1


def test_a_plan_of_many_rows_one_by_one_warns_and_is_not_stopped(tmp_path: Path) -> None:
    world = World(tmp_path, profiles())
    numbers = range(MANY)
    row = {
        "mail": [f"p{n}@x.de" for n in numbers],
        "first": ["A"] * MANY,
        "last": ["B"] * MANY,
        "zip": ["10001"] * MANY,
    }
    world.take(Rows(row))
    [warning] = world.plan().verdicts
    assert (warning.guard, warning.level) == ("slow_plan", Level.WARN)
    assert "one by one" in warning.message and "off-peak hours" in warning.message and "limit" in warning.message


def test_a_small_trial_comes_first_where_somebody_asks_for_it(tmp_path: Path) -> None:
    world = World(tmp_path, profiles())
    world.take(["ann", "bob", "cid"])
    assert world.carry_out(limit=1).asked == 1
    assert len(world.held) == 1


def test_an_event_without_an_id_or_an_activity_is_refused_when_it_is_declared(tmp_path: Path) -> None:
    mapping = {"event_id": Field("event"), "user_id": Field("mail"), "activity_id": Field(constant="1")}
    for missing in mapping:
        with pytest.raises(FixDeclaration, match=f"map a column to {missing}"):
            less = {name: origin for name, origin in mapping.items() if name != missing}
            World(tmp_path, credits(), mapping=less)


def test_a_profile_without_user_id_is_refused_when_it_is_declared(tmp_path: Path) -> None:
    with pytest.raises(FixDeclaration, match="map a column to user_id"):
        World(tmp_path, profiles(), mapping={"first_name": Field("first")})
