"""What a service repeats of a row or of the credentials is hidden, however it writes it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

import httpx
import pytest

from zeotap_pipelines.model import Batch, Fate, Operation, Outcome, Receipt, Verb
from zeotap_pipelines.wire.discretion import discreet, without

SECRET = 'k"3y<&>/ö s+1'
WAYS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "URL": lambda text: quote(text, safe=""),
    "URL twice": lambda text: quote(quote(text, safe=""), safe=""),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "page": escape,
    "JSON on a page": lambda text: escape(json.dumps(text)[1:-1]),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_hidden_in_an_answer_however_it_is_written(way: str) -> None:
    written = WAYS[way](SECRET)
    response = httpx.Response(400, text=f"refused: {written}!", request=httpx.Request("GET", "https://x.io"))
    found = without(response, [SECRET]).text
    assert found == "refused: …!"


@pytest.mark.parametrize("way", WAYS)
def test_a_row_is_hidden_in_a_reason_however_it_is_written(way: str) -> None:
    row = Operation(0, Verb.ADD, '{"EMAIL": "ada@x.io"}')
    batch = Batch((row,), datetime(2026, 1, 1, tzinfo=UTC))
    reason = f"no user ({WAYS[way]('ada@x.io')})"
    found = discreet(Receipt(Outcome(Fate.REJECTED, reason)), batch, [])
    assert found.everyone.reason == "no user (…)"
