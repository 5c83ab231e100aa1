"""One message when a sync begins to fail, and one when it has recovered."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeotap_pipelines.automation.notices import Ended, Failing, post, reason, turned, wrong_webhook
from zeotap_pipelines_tests.webhook import PATH, webhook

NOON = datetime(2026, 1, 3, 12, tzinfo=UTC)
DAYS = st.sampled_from([f"2026-01-0{number}" for number in range(1, 6)])


def failed(*asked: str, run: str = "run-1", green: Collection[str] = ()) -> Ended:
    asked = asked or ("2026-01-03",)
    return Ended("buyers", run, NOON, True, frozenset(asked), frozenset(green), "the audience's query fails (FixQuery)")


def delivered(partition: str | None = "2026-01-03", run: str = "run-2") -> Ended:
    green = frozenset() if partition is None else frozenset({partition})
    return Ended("buyers", run, NOON, False, frozenset({partition or ""}), green)


def messages(*ends: Ended, event: bool = False) -> list[str]:
    """The messages of a sync that stands well at first."""
    failing: Failing | None = None
    found = []
    for ended in ends:
        failing, message = turned(failing, ended, event=event)
        if message:
            found.append(message)
    return found


def test_failing_still_failing_and_recovered_are_two_messages() -> None:
    first, second = messages(failed(), failed(run="run-9"), delivered())
    assert first == "Sync buyers is failing at 2026-01-03: the audience's query fails (FixQuery). Run run-1."
    assert second == ("Sync buyers has recovered at 2026-01-03. It was failing since 2026-01-03 12:00 UTC. Run run-2.")


def test_a_sync_that_never_failed_says_nothing() -> None:
    assert messages(delivered(), delivered()) == []


def test_a_run_that_delivers_nothing_changes_nothing() -> None:
    assert len(messages(delivered(None), failed(), delivered(None))) == 1


def test_an_older_partition_is_no_recovery_and_a_newer_one_is() -> None:
    assert len(messages(failed("2026-01-03"), delivered("2026-01-02"))) == 1
    assert len(messages(failed("2026-01-03"), delivered("2026-01-04"))) == 2
    assert len(messages(failed("2026-01-03"), failed("2026-01-04"), delivered("2026-01-03"))) == 1


def test_of_events_a_newer_partition_is_no_recovery_of_an_older_one() -> None:
    first, second = messages(failed("2026-01-03"), delivered("2026-01-04"), delivered("2026-01-03"), event=True)
    assert "is failing at 2026-01-03" in first and "has recovered at 2026-01-03" in second
    both = failed("2026-01-03"), failed("2026-01-04"), delivered("2026-01-04")
    assert len(messages(*both, event=True)) == 1
    assert len(messages(*both, delivered("2026-01-03"), event=True)) == 2


def test_of_a_range_of_events_what_was_delivered_has_not_failed() -> None:
    whole = failed("2026-01-01", "2026-01-02", "2026-01-03", green=["2026-01-01"])
    assert len(messages(whole, delivered("2026-01-03"), event=True)) == 1
    assert len(messages(whole, delivered("2026-01-03"), delivered("2026-01-02"), event=True)) == 2


def test_without_partitions_any_delivery_is_a_recovery() -> None:
    first, second = messages(failed(""), delivered(""))
    assert first.startswith("Sync buyers is failing: ") and second.startswith("Sync buyers has recovered. ")


def test_a_run_is_linked_where_the_address_of_the_ui_is_known() -> None:
    [message] = [turned(None, failed(), ui)[1] for ui in ("https://dagster.example.com/",)]
    assert message and message.endswith(" https://dagster.example.com/runs/run-1")


@given(
    st.booleans(),
    st.lists(
        st.builds(failed, DAYS, DAYS, green=st.sets(DAYS)) | st.builds(delivered, DAYS | st.none(), st.just("run"))
    ),
)
def test_messages_take_turns_and_the_last_one_is_how_it_stands(event: bool, ends: list[Ended]) -> None:
    failing: Failing | None = None
    told = False
    for ended in ends:
        before = failing
        failing, message = turned(failing, ended, event=event)
        assert bool(message) is ((before is None) is not (failing is None))
        if message:
            assert ("is failing" in message) is not told
            told = not told
    assert told is (failing is not None)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("FixQuery: Conversion Error: could not convert 'ada@example.com' to INT32", "(FixQuery)"),
        ("3 accepted; 2 not asked in 1.0 s; TryAgainLater: HTTP 503: ada@example.com", "(TryAgainLater)"),
        ("ValueError: ada@example.com", "the run says why"),
        ("Operation: ada@example.com", "the run says why"),
        ("ZeotapErro: ada@example.com", "the run says why"),
        ("", "the run says why"),
    ],
)
def test_a_reason_is_a_sentence_of_ours_and_repeats_nothing(said: str, kind: str) -> None:
    assert reason(said).endswith(kind)
    assert "ada" not in reason(said)


def test_the_address_of_a_webhook_is_https_or_this_machine() -> None:
    assert wrong_webhook("https://hooks.example.com/services/T0/B0/x?sig=1") is None
    assert wrong_webhook("http://127.0.0.1:8000/x") is None
    for url in ("http://canary.org/x", "canary.org", "ftp://canary.org", "https://", "https://[canary", "canary"):
        wrong = wrong_webhook(url)
        assert wrong and "canary" not in wrong


def test_no_log_names_a_webhook_however_much_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    for library in ("httpx", "httpcore"):  # As if nobody had ever asked for anything.
        logging.getLogger(library).setLevel(logging.NOTSET)
    with webhook() as hook, caplog.at_level(logging.DEBUG):
        assert post(hook.url, "Sync buyers is failing.") is None
        hook.status = 500
        assert post(hook.url, "more") == "answers 500"
    post(hook.url, "more")
    assert PATH not in caplog.text and "canary" not in caplog.text


def test_a_webhook_takes_a_text_and_says_why_it_does_not() -> None:
    with webhook() as hook:
        assert post(hook.url, "Sync buyers is failing.") is None
        assert hook.taken == ["Sync buyers is failing."]
        for status in (302, 404, 429, 500):
            hook.status = status
            assert post(hook.url, "more") == f"answers {status}"
    assert hook.taken == ["Sync buyers is failing."]
    gone = post(hook.url, "more")
    assert gone and gone.startswith("does not answer (Connect") and "canary" not in gone
