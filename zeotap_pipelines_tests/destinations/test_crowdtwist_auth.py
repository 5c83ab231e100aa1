import asyncio
import base64
import hashlib
import hmac
import logging

import httpx
import pytest
from pydantic import SecretStr

from zeotap_pipelines.destinations.crowdtwist_auth import ApiKey, Signature, string_to_sign
from zeotap_pipelines.errors import FixConnection
from zeotap_pipelines.naming import segment

HOST = "https://api123.crowdtwist.com"
NOW = 1_700_000_000.123


def send(auth: httpx.Auth, *requests: httpx.Request, status: int = 200, **headers: str) -> list[httpx.Request]:
    """What reaches the service."""
    seen: list[httpx.Request] = []

    def service(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, headers=headers)

    async def exchange() -> None:
        async with httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(service)) as client:
            for request in requests:
                await client.send(request)

    asyncio.run(exchange())
    return seen


def signature(**settings: object) -> Signature:
    return Signature("public", SecretStr("private"), now=lambda: NOW, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["hex_base64", "raw_base64"])
@pytest.mark.parametrize(("unit", "stamp"), [("ms", "1700000000123"), ("s", "1700000000")])
@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/v2/activities", b""),
        ("PUT", "/v2/users/7?id_type=third_party_id", b'{"first_name":"Ada"}'),
        ("POST", "/v2/users", '{"first_name":"Zoë","last_name":"李"}'.encode()),
        ("PUT", f"/v2/users/{segment('a+b/c%d e@x.de')}?id_type=email", b"{}"),
        ("POST", "/crowdtwist/v2/users/%C3%BC/activities?id_type=username", b'{"activity_id":"1"}'),
    ],
)
def test_a_signature_is_what_the_service_computes_from_the_bytes_that_arrive(
    method: str, target: str, body: bytes, encoding: str, unit: str, stamp: str
) -> None:
    headers = {"Content-Type": "application/json"} if body else {}
    auth = signature(encoding=encoding, unit=unit)
    [seen] = send(auth, httpx.Request(method, HOST + target, content=body or None, headers=headers))
    assert seen.url.raw_path == target.encode()

    lines = [method, hashlib.md5(body).hexdigest() if body else "", "application/json" if body else "", stamp, target]
    mac = hmac.new(b"private", "\n".join(lines).encode(), hashlib.sha256)
    expected = base64.b64encode(mac.hexdigest().encode() if encoding == "hex_base64" else mac.digest()).decode()
    assert len(expected) == (88 if encoding == "hex_base64" else 44)
    assert seen.headers["X-CT-Authorization"] == f"CTApiV2Auth public:{expected}"
    assert seen.headers["X-CT-Timestamp"] == stamp
    assert "api_key" not in str(seen.url)


def test_without_a_body_the_lines_of_md5_and_content_type_are_empty_and_there() -> None:
    assert string_to_sign("GET", b"", "application/json", "1", b"/v2/activities") == b"GET\n\n\n1\n/v2/activities"


def test_the_default_signature_is_this_one() -> None:
    [seen] = send(signature(), httpx.Request("GET", f"{HOST}/v2/activities"))
    # printf 'GET\n\n\n1700000000123\n/v2/activities' | openssl dgst -sha256 -hmac private
    expected = b"92b7c9cab241eb3cd4dbcb1e02edab7ba3ca4d670f76de22543649eb18713126"
    signed = seen.headers["X-CT-Authorization"].removeprefix("CTApiV2Auth public:")
    assert base64.b64decode(signed) == expected


def test_every_attempt_is_signed_anew() -> None:
    times = iter([1.0, 2.0])
    auth = Signature("public", SecretStr("private"), now=lambda: next(times))
    first, second = send(auth, *[httpx.Request("GET", f"{HOST}/v2/activities") for _ in range(2)])
    assert first.headers["X-CT-Timestamp"] != second.headers["X-CT-Timestamp"]
    assert first.headers["X-CT-Authorization"] != second.headers["X-CT-Authorization"]


@pytest.mark.parametrize(
    ("date", "said"),
    [
        ("Tue, 14 Nov 2023 22:13:20 GMT", "public_key and private_key"),
        ("Tue, 14 Nov 2023 21:53:20 GMT", "20 minutes ahead of"),
        ("Tue, 14 Nov 2023 22:53:20 GMT", "40 minutes behind"),
        ("yesterday", "public_key and private_key"),
    ],
)
def test_a_refused_signature_says_whether_this_machines_clock_is_the_reason(date: str, said: str) -> None:
    with pytest.raises(FixConnection, match=said) as refused:
        send(signature(), httpx.Request("GET", f"{HOST}/v2/activities"), status=401, Date=date)
    assert "synchronize" in str(refused.value) and "private:" not in str(refused.value)


@pytest.mark.parametrize("key", ["k3y", "a+b/c=&d%?#"])
def test_the_key_in_the_query_arrives_whole_beside_the_other_parameters(key: str) -> None:
    asked = f"{HOST}/v2/users/{segment('a+b/c%d e@x.de')}?id_type=email"
    [seen] = send(ApiKey(SecretStr(key)), httpx.Request("PUT", asked, content=b"{}"))
    assert dict(seen.url.params) == {"id_type": "email", "api_key": key}
    assert seen.url.raw_path.startswith(b"/v2/users/a%2Bb%2Fc%25d%20e%40x.de?id_type=email&api_key=")


def test_the_key_in_the_header_leaves_the_address_alone() -> None:
    [seen] = send(ApiKey(SecretStr("k3y"), key_in="header"), httpx.Request("GET", f"{HOST}/v2/activities"))
    assert seen.headers["X-CT-Authorization"] == "CTApiKey k3y"
    assert str(seen.url) == f"{HOST}/v2/activities"


@pytest.mark.parametrize("key_in", ["query", "header"])
@pytest.mark.parametrize("status", [200, 401, 500])
def test_the_key_is_in_no_log_and_no_error(key_in: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "httpx")  # As if no wire had ever silenced it.
    shown = ""
    try:
        [seen] = send(ApiKey(SecretStr("k3y"), key_in=key_in), httpx.Request("GET", f"{HOST}/v2/x"), status=status)
        shown = f"{seen.url} {seen.url!r} {seen!r}"
    except FixConnection as refused:
        assert status == 401 and "check api_key" in str(refused)
        shown = f"{refused!r}"
    assert "k3y" not in shown and "k3y" not in caplog.text
    assert status == 401 or "/v2/x" in caplog.text


def test_a_timeout_does_not_tell_the_key() -> None:
    def service(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("late", request=request)

    async def exchange() -> None:
        client = httpx.AsyncClient(auth=ApiKey(SecretStr("k3y")), transport=httpx.MockTransport(service))
        with pytest.raises(httpx.ReadTimeout) as late:
            await client.get(f"{HOST}/v2/activities")
        assert "k3y" not in f"{late.value!r} {late.value.request!r} {late.value.request.url}"

    asyncio.run(exchange())
