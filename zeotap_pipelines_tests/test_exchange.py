"""What is put together without httpx's parser is what httpx's parser makes of it."""

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zeotap_pipelines.exchange import Whole, at

BASES = ["https://api.example.com", "http://127.0.0.1:8080", "https://api.example.com/", "http://[::1]:8080"]


@given(st.sampled_from(BASES), st.text("/?.%&=#+@:~[]{}|^`'\"<> aZ09é2f", max_size=12))
@example("https://api.example.com", "v2/users/a%2Bb%40x.de/activities?id_type=email&q=a/../b")
@example("https://api.example.com", "v2/./users/../x")
@example("https://api.example.com", "?")
def test_an_address_put_together_is_the_one_that_httpx_parses(base: str, target: str) -> None:
    parsed = httpx.URL(f"{base.rstrip('/')}/{target}")
    made = at(httpx.URL(base), f"/{target}")
    assert made == parsed
    for part in ("scheme", "raw_host", "port", "path", "raw_path", "query", "params", "fragment"):
        assert getattr(made, part) == getattr(parsed, part)


@pytest.mark.parametrize("content", [b"", b'{"awarded":true}', "é".encode()])
def test_a_response_that_is_there_is_the_one_that_httpx_reads(content: bytes) -> None:
    headers = [(b"content-type", b"application/json; charset=utf-8"), (b"x", b"1")]
    request = httpx.Request("GET", "https://api.example.com")
    made = Whole(201, headers, content, request)
    read = httpx.Response(201, headers=headers, content=content, request=request)
    assert (made.content, made.text, made.read()) == (read.content, read.text, read.read())
    assert (made.status_code, made.is_closed, made.request) == (201, True, request)
    assert made.headers.multi_items()[:2] == read.headers.multi_items()[:2]
