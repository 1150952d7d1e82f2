"""Discovery: where metadata may come from, and each way in which it is refused."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx2
import pytest

from scopeward.errors import ScopewardError
from scopeward.idp.discovery import IssuerMetadata, IssuerMismatchError, fetch_metadata, well_known
from scopeward.idp.documents import Limits, cause_of, check_secure, fetch_document, http_client, is_loopback

ISSUER = "https://login.example.test/tenant"
OIDC = "https://login.example.test/tenant/.well-known/openid-configuration"
RFC_8414 = "https://login.example.test/.well-known/oauth-authorization-server/tenant"
METADATA = {
    "issuer": ISSUER,
    "jwks_uri": "https://keys.example.test/jwks?p=1",
    "token_endpoint": "https://login.example.test/token",
    "authorization_endpoint": "https://login.example.test/authorize",
    "scopes_supported": ["openid", "read.orders", 7, "x\u001b[2J"],
}

Answer = httpx2.Response | Exception | Mapping[str, Any]


def fetch(answers: Mapping[str, Answer], issuer: str = ISSUER, limits: Limits | None = None) -> IssuerMetadata:
    """What a provider that answers so gives; any other address is a 404."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        answer = answers.get(str(request.url), httpx2.Response(404))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer)

    return run(handle, issuer, limits)


def run(handle: Callable[[httpx2.Request], Any], issuer: str = ISSUER, limits: Limits | None = None) -> IssuerMetadata:
    async def main() -> IssuerMetadata:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(handle)) as client:
            return await fetch_metadata(issuer, client, limits or Limits())

    return asyncio.run(main())


def refused(reference: str, answers: Mapping[str, Answer], issuer: str = ISSUER, limits: Limits | None = None) -> ScopewardError:
    with pytest.raises(ScopewardError) as caught:
        fetch(answers, issuer, limits)
    assert caught.value.reference.id == reference
    return caught.value


def test_the_document_below_the_issuer() -> None:
    found = fetch({OIDC: METADATA})
    assert found == IssuerMetadata(
        ISSUER, "https://keys.example.test/jwks?p=1", "https://login.example.test/token", "https://login.example.test/authorize", ("openid", "read.orders")
    )


def test_the_document_of_rfc_8414() -> None:
    assert fetch({RFC_8414: METADATA}).issuer == ISSUER


def test_a_page_for_every_address_does_not_hide_the_document_of_rfc_8414() -> None:
    page = httpx2.Response(200, text="<html>sign in</html>")
    assert fetch({OIDC: page, RFC_8414: METADATA}).issuer == ISSUER


@pytest.mark.parametrize(
    ("issuer", "oidc", "rfc_8414"),
    [
        ("https://a.test", "https://a.test/.well-known/openid-configuration", "https://a.test/.well-known/oauth-authorization-server"),
        ("https://a.test/", "https://a.test/.well-known/openid-configuration", "https://a.test/.well-known/oauth-authorization-server"),
        ("https://a.test/x/", "https://a.test/x/.well-known/openid-configuration", "https://a.test/.well-known/oauth-authorization-server/x"),
        ("http://[::1]:9/x", "http://[::1]:9/x/.well-known/openid-configuration", "http://[::1]:9/.well-known/oauth-authorization-server/x"),
    ],
)
def test_the_two_places(issuer: str, oidc: str, rfc_8414: str) -> None:
    assert well_known(issuer) == (oidc, rfc_8414)


@pytest.mark.parametrize("named", [ISSUER + "/", ISSUER.upper(), "https://login.example.test/tenant2", "https://login.example.test/ten\u0430nt"])
def test_another_issuer_is_refused_with_both_spellings(named: str) -> None:
    error = refused("idp-issuer-mismatch", {OIDC: {**METADATA, "issuer": named}, RFC_8414: METADATA})
    assert isinstance(error, IssuerMismatchError)
    assert (error.asked, error.named) == (ISSUER, named)
    assert f"'{ISSUER}'" in error.what
    assert f"'{named}'" in error.what
    assert named in error.remedy


def test_a_named_issuer_cannot_act_upon_the_terminal() -> None:
    error = refused("idp-issuer-mismatch", {OIDC: {**METADATA, "issuer": "https://x\u001b[2J\n" + "y" * 1000}})
    assert error.what.isprintable()
    assert len(error.what) < 500


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    asked: list[str] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.host)
        return httpx2.Response(status, headers={"Location": "http://169.254.169.254/latest/meta-data"})

    with pytest.raises(ScopewardError, match="redirect") as caught:
        run(handle)
    assert caught.value.reference.id == "idp-document"
    assert set(asked) == {"login.example.test"}


def test_no_redirect_is_followed_by_a_client_that_would() -> None:
    def handle(request: httpx2.Request) -> httpx2.Response:
        assert request.url.host == "login.example.test"
        return httpx2.Response(302, headers={"Location": "https://elsewhere.test/"})

    async def main() -> None:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(handle), follow_redirects=True) as client:
            await fetch_metadata(ISSUER, client)

    with pytest.raises(ScopewardError, match="redirect"):
        asyncio.run(main())


@pytest.mark.parametrize("content", [b"", b"{", b"<html>", b"\xff\xfe{}", b"[]", b'"x"', b"null", b"[" * 100_000, b'{"issuer":' + b"1" * 5000 + b"}"])
def test_what_is_not_a_json_object(content: bytes) -> None:
    refused("idp-document", {OIDC: httpx2.Response(200, content=content)})


@pytest.mark.parametrize(
    "changes",
    [{"issuer": None}, {"issuer": 7}, {"jwks_uri": None}, {"jwks_uri": 7}, {"jwks_uri": "keys"}, {"jwks_uri": "ftp://a.test/k"}, {"token_endpoint": ["x"]}]
    + [{"jwks_uri": uri} for uri in ("https://user:pass@a.test/k", "https://a.test/k#f", "https:///k", "https://[::1/k", "file:///etc/passwd")],
)
def test_metadata_of_another_form(changes: dict[str, Any]) -> None:
    error = refused("idp-document", {OIDC: {**METADATA, **changes}})
    assert "pass" not in error.what.replace("passwd", "")


@pytest.mark.parametrize("name", ["jwks_uri", "token_endpoint", "authorization_endpoint"])
@pytest.mark.parametrize(
    "host",
    ["keys.example.test", "127.0.0.1", "localhost", "[::1]", "169.254.169.254", "[::ffff:169.254.169.254]", "[2002:a9fe:a9fe::]", "[64:ff9b::a9fe:a9fe]"],
)
def test_no_address_in_clear_text_by_an_issuer_elsewhere(name: str, host: str) -> None:
    refused("idp-insecure", {OIDC: {**METADATA, name: f"http://{host}/x"}})


def test_nothing_is_asked_in_clear_text() -> None:
    def handle(_request: httpx2.Request) -> httpx2.Response:
        raise AssertionError("asked")

    with pytest.raises(ScopewardError) as caught:
        run(handle, "http://login.example.test")
    assert caught.value.reference.id == "idp-insecure"


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"])
def test_loopback_may_be_in_clear_text(issuer: str) -> None:
    metadata = {"issuer": issuer, "jwks_uri": issuer + "/jwks"}
    assert fetch({issuer + "/.well-known/openid-configuration": metadata}, issuer).jwks_uri == issuer + "/jwks"


def test_an_issuer_on_loopback_cannot_send_elsewhere_in_clear_text() -> None:
    issuer = "http://127.0.0.1:9000"
    refused("idp-insecure", {issuer + "/.well-known/openid-configuration": {"issuer": issuer, "jwks_uri": "http://keys.test/jwks"}}, issuer)


@pytest.mark.parametrize(
    "issuer",
    ["", "login.example.test", "ftp://a.test", "https://", "https://a.test?x=1", "https://a.test#x", "https://user:secret@a.test", "https://a.test/../b"],
)
def test_what_is_no_issuer(issuer: str) -> None:
    error = refused("idp-document", {}, issuer)
    assert "secret" not in error.what


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1.example.test", "localhost.example.test", "0.0.0.0", "::", "::ffff:127.0.0.1", "0x7f.1", "2130706433", "017700000001", "10.0.0.1", ""),
        *("::ffff:7f00:1", "0:0:0:0:0:ffff:7f00:1", "::FFFF:127.0.0.1", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "fec0::1", "fe80::1"),
        *("::1%eth0", "127.1", "0177.0.0.1", "127.0.0.1.", "localhost."),
    ],
)
def test_not_loopback_by_its_text(host: str) -> None:
    assert not is_loopback(host)


def test_both_places_missing() -> None:
    assert "404" in refused("idp-document", {}).what


class Endless(httpx2.AsyncByteStream):
    """More and more, and a note of how much was taken."""

    def __init__(self, pause: float = 0.0) -> None:
        self.taken = 0
        self._pause = pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(self._pause)
            self.taken += 1000
            yield b" " * 1000


def test_a_document_without_end_is_cut() -> None:
    stream = Endless()
    error = refused("idp-document", {OIDC: httpx2.Response(200, stream=stream), RFC_8414: httpx2.Response(404)}, limits=Limits(size=10_000, seconds=5))
    assert "10000 bytes" in error.what
    assert stream.taken <= 11_000


def test_the_size_counts_after_decoding() -> None:
    bomb = httpx2.Response(200, content=gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"})
    assert "larger than" in refused("idp-document", {OIDC: bomb}).what


def test_all_of_it_must_come_in_time() -> None:
    stream = Endless(pause=0.02)
    error = refused("idp-unreachable", {OIDC: httpx2.Response(200, stream=stream)}, limits=Limits(seconds=0.1))
    assert "within 0.1 s" in error.what


def caused(error: Exception, by: BaseException) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (caused(httpx2.ConnectError("x"), ConnectionRefusedError()), "connection refused"),
        (caused(httpx2.ConnectError("x"), OSError("All connection attempts failed")), "the connection failed"),
        (caused(httpx2.ConnectError("x"), ExceptionGroup("several", [ConnectionRefusedError()])), "connection refused"),
        (httpx2.ConnectTimeout("x"), "no answer in time"),
        (httpx2.ProxyError("407"), "proxy"),
        (httpx2.RemoteProtocolError("x"), "not HTTP"),
        (caused(httpx2.ReadError("x"), ConnectionResetError()), "closed"),
        (caused(httpx2.ConnectError("x"), ssl.SSLError("WRONG_VERSION_NUMBER")), "TLS"),
    ],
)
def test_a_failure_of_the_network_in_plain_words(failure: Exception, words: str) -> None:
    error = refused("idp-unreachable", {OIDC: failure})
    assert words in error.what
    assert OIDC in error.what
    assert error.__cause__ is None


def test_a_certificate_says_why() -> None:
    verification = ssl.SSLCertVerificationError("x")
    verification.verify_message = "self-signed certificate"
    assert cause_of(caused(httpx2.ConnectError("x"), verification)) == "its certificate is not accepted: self-signed certificate"


def test_names_and_ports_for_real() -> None:
    async def main(issuer: str) -> None:
        async with http_client() as client:
            await fetch_metadata(issuer, client)

    with pytest.raises(ScopewardError, match="connection refused"):
        asyncio.run(main("http://127.0.0.1:1"))


def test_the_client_verifies_and_honours_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    client = http_client()
    assert client.follow_redirects is False
    assert client.trust_env is True
    asyncio.run(client.aclose())
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(ScopewardError, match="/nowhere/ca") as caught:
        http_client()
    assert caught.value.reference.id == "idp-unreachable"


def test_a_proxy_is_used_but_not_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    client = http_client()
    direct = client._transport
    assert client._transport_for_url(httpx2.URL("https://login.example.test/")) is not direct
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert client._transport_for_url(httpx2.URL(f"http://{host}:9000/")) is direct
    asyncio.run(client.aclose())


def test_a_proxy_of_no_use_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://user:hunter2@proxy.test")
    with pytest.raises(ScopewardError) as caught:
        http_client()
    assert "hunter2" not in str(caught.value) + caught.value.remedy


@pytest.mark.parametrize("url", ["https://a.test:99999999/", "https://a.test/\ud800", "https://\ud800.test/", "https://a.test/?\udfff"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ScopewardError) as caught:
        check_secure(url, "jwks_uri", loopback=False)
    assert caught.value.reference.id == "idp-document"


def test_providers_that_hang_leave_connections_for_others() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/hang" in await reader.readline():
            await reader.read()
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            await writer.drain()
        writer.close()

    async def main() -> Mapping[str, Any]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, http_client() as client:
            hanging = [asyncio.create_task(fetch_document(url + "/hang", client, Limits())) for _ in range(20)]
            await asyncio.sleep(0.05)
            found = await asyncio.wait_for(fetch_document(url + "/good", client, Limits()), 2)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
            return found

    assert asyncio.run(main()) == {}
