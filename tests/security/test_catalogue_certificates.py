"""Rows of the catalogue about client certificates: a name counts as a whole and of its own kind, and only where our authority signed it."""

# ruff: noqa: N802  # the row's number is in the name, as the catalogue writes it

from __future__ import annotations

import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from tests.kit.gateway import Answer, read_answer
from tests.kit.tokens import Mint
from tests.kit.wire import head
from tests.security.authorities import subject
from tests.security.conftest import Mutual

DNS, URI, EMAIL = x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name
SPIFFE = "spiffe://example/orders"
PRINCIPAL_NAME = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")


def other_name(text: str) -> x509.OtherName:
    """A user principal name, as directories write it: a UTF8String (X.690 section 8.23)."""
    return x509.OtherName(PRINCIPAL_NAME, b"\x0c" + bytes([len(text.encode())]) + text.encode())


def shows(mutual: Mutual, certificate: Path | None, path: str, mint: Mint) -> Answer:
    """A call that lacks nothing but, may be, the certificate."""
    api = path.split("/")[1]
    fields = ("Host: gw.example", f"Authorization: Bearer {mint.token(aud=f'api://{api}')}")
    with mutual.gateway.connection(certificate) as connection:
        connection.sendall(head(f"GET {path} HTTP/1.1", *fields))
        return read_answer(connection)


def is_refused(mutual: Mutual, certificate: Path | None, path: str, mint: Mint) -> None:
    with mutual.upstream.sees_nothing():
        answer = shows(mutual, certificate, path, mint)
    assert (answer.status, answer.reference) == (403, "client-certificate")


GOOD: dict[str, tuple[x509.GeneralName, ...]] = {
    "the DNS name": (DNS("client.example"),),
    "the DNS name beside a URI": (URI("spiffe://example/other"), DNS("client.example")),
    "the URI": (URI(SPIFFE),),
    "the URI beside a DNS name": (DNS("other.example"), URI(SPIFFE)),
}


@pytest.mark.parametrize("kind", GOOD)
def test_T68_a_name_that_is_listed_lets_in(kind: str, mutual: Mutual, mint: Mint) -> None:
    certificate = mutual.authority.signs(*GOOD[kind])
    before = len(mutual.upstream.seen)
    for path in ("/named/1", "/named/open", "/any/1", "/plain/1"):
        assert shows(mutual, certificate, path, mint).status == 200
    assert len(mutual.upstream.seen) == before + 4


OTHERS: dict[str, tuple[x509.GeneralName, ...]] = {
    "the DNS name among others": (DNS("other.example"), DNS("client.example"), DNS("*.example")),
    "the DNS text as a URI": (URI("client.example"),),
    "the DNS text as an address of mail": (EMAIL("client.example"),),
    "the DNS text as a user's name": (other_name("client.example"),),
    "the DNS text as a directory name": (x509.DirectoryName(subject("client.example")),),
    "the URI's text as a DNS name": (DNS(SPIFFE),),
    "the URI's text as a user's name": (other_name(SPIFFE),),
    "the URI's text as a directory name": (x509.DirectoryName(subject(SPIFFE)),),
    "an address where its text is listed as a DNS name": (x509.IPAddress(ip_address("10.0.0.1")),),
    "an address of mail at the name": (EMAIL("x@client.example"),),
    "a registered id": (x509.RegisteredID(PRINCIPAL_NAME),),
    "NUL after the name": (DNS("client.example\0.evil.example"),),
    "NUL before the name": (DNS("evil.example\0client.example"),),
    "NUL at the end": (DNS("client.example\0"),),
    "NUL in the URI": (URI(f"{SPIFFE}\0/evil"),),
    "NUL at the end of the URI": (URI(f"{SPIFFE}\0"),),
    "NUL in a user's name": (other_name("client.example\0.evil.example"),),
    "a name below": (DNS("x.client.example"),),
    "a name above": (DNS("example"),),
    "a longer name": (DNS("client.example.evil"),),
    "a name with another beginning": (DNS("xclient.example"),),
    "any character for the dot": (DNS("clientxexample"),),
    "a wildcard": (DNS("*.example"),),
    "a dot at the end": (DNS("client.example."),),
    "white space": (DNS(" client.example"),),
    "a line": (DNS("evil.example\nclient.example"),),
    "a URI below": (URI(f"{SPIFFE}/x"),),
    "a URI with a slash": (URI(f"{SPIFFE}/"),),
    "a URI above": (URI("spiffe://example"),),
    "a URI in capitals": (URI("spiffe://EXAMPLE/orders"),),
    "a URI with a scheme in capitals": (URI("SPIFFE://example/orders"),),
    "a URI with a query": (URI(f"{SPIFFE}?x"),),
    "a URI with a fragment": (URI(f"{SPIFFE}#x"),),
    "a URI that is escaped": (URI("spiffe://example/order%73"),),
    "a URI of another trust domain": (URI("spiffe://example.evil/orders"),),
    "a URI with a comma": (URI(f"spiffe://evil/x,{SPIFFE}"),),
    "a URI with a comma after it": (URI(f"{SPIFFE},spiffe://evil/x"),),
    "two URIs, of which a SPIFFE identity may have one": (URI(SPIFFE), URI("spiffe://evil/x")),
    "no name": (),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_T68_the_same_text_of_another_kind_or_less_than_the_whole_is_another_name(kind: str, mutual: Mutual, mint: Mint) -> None:
    certificate = mutual.authority.signs(*OTHERS[kind], common_name="somebody")
    for path in ("/named/1", "/named/open"):
        is_refused(mutual, certificate, path, mint)
    assert shows(mutual, certificate, "/any/1", mint).status == 200


JOINED: dict[str, tuple[x509.GeneralName, ...]] = {
    "after a comma": (DNS("evil.example,client.example"),),
    "before a comma": (DNS("client.example,evil.example"),),
    "between commas": (DNS("a,client.example,b"),),
}


@pytest.mark.parametrize("kind", JOINED)
def test_T68_a_dns_name_with_a_comma_is_not_several(kind: str, mutual: Mutual, mint: Mint) -> None:
    is_refused(mutual, mutual.authority.signs(*JOINED[kind], common_name="somebody"), "/named/1", mint)


@pytest.mark.parametrize("common_name", ["client.example", SPIFFE, "dns:client.example", "DNS:client.example"])
def test_T68_the_subject_is_no_name(common_name: str, mutual: Mutual, mint: Mint) -> None:
    certificate = mutual.authority.signs(common_name=common_name)
    is_refused(mutual, certificate, "/named/1", mint)
    assert shows(mutual, certificate, "/any/1", mint).status == 200


def test_T68_without_a_certificate_only_what_asks_for_none_is_open(mutual: Mutual, mint: Mint) -> None:
    for path in ("/named/1", "/named/open", "/any/1", "/any/open"):
        is_refused(mutual, None, path, mint)
    assert shows(mutual, None, "/plain/1", mint).status == 200


FORGERIES: dict[str, Callable[[Mutual], Path]] = {
    "of another authority": lambda m: m.stranger.signs(DNS("client.example")),
    "of another authority of the same name and another key": lambda m: m.authority.signs(DNS("client.example"), key=ec.generate_private_key(ec.SECP256R1())),
    "expired": lambda m: m.authority.signs(DNS("client.example"), days=(-3, -1)),
    "not yet valid": lambda m: m.authority.signs(DNS("client.example"), days=(1, 3)),
    "for servers": lambda m: m.authority.signs(DNS("client.example"), usage=ExtendedKeyUsageOID.SERVER_AUTH),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_T68_a_certificate_that_does_not_verify_ends_the_connection_whatever_is_asked(kind: str, mutual: Mutual, mint: Mint) -> None:
    certificate = FORGERIES[kind](mutual)
    with mutual.upstream.sees_nothing():
        for path in ("/named/1", "/named/open", "/any/1", "/plain/1"):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                shows(mutual, certificate, path, mint)


def test_T68_a_header_is_no_certificate_and_no_upstream_sees_it(mutual: Mutual, mint: Mint) -> None:
    told = 'By=spiffe://gw;Hash=00;Subject="CN=client.example";URI=spiffe://example/orders;DNS=client.example'
    forged = [f"{name}: {told}" for name in ("x-forwarded-client-cert", "X-SSL-Client-Cert", "ssl-client-cert", "x-client-cert", "client-cert")]
    fields = ("Host: gw.example", f"Authorization: Bearer {mint.token(aud=['api://named', 'api://plain'])}", *forged)
    with mutual.upstream.sees_nothing(), mutual.gateway.connection(None) as connection:
        connection.sendall(head("GET /named/1 HTTP/1.1", *fields))
        assert read_answer(connection).reference == "client-certificate"
    with mutual.gateway.connection(None) as connection:
        connection.sendall(head("GET /plain/1 HTTP/1.1", *fields))
        assert read_answer(connection).status == 200
    assert not mutual.upstream.seen[-1].all("x-forwarded-client-cert")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_T68_a_session_that_is_resumed_has_the_certificate_that_it_began_with(version: ssl.TLSVersion, mutual: Mutual, mint: Mint) -> None:
    request = head("GET /named/1 HTTP/1.1", "Host: gw.example", f"Authorization: Bearer {mint.token(aud='api://named')}")

    def answers(certificate: Path | None) -> list[int]:
        context, session, found = mutual.gateway.context(certificate), None, []
        context.minimum_version = context.maximum_version = version
        for _ in range(2):
            with mutual.gateway.connection(None, context=context, session=session) as connection:
                connection.sendall(request)
                found.append(read_answer(connection).status)
                session = connection.session
        return found

    assert answers(None) == [403, 403]
    assert answers(mutual.authority.signs(DNS("other.example"))) == [403, 403]
    assert answers(mutual.authority.signs(DNS("client.example"))) == [200, 200]


def test_T68_a_certificate_does_not_stand_in_for_a_token(mutual: Mutual, mint: Mint) -> None:
    certificate = mutual.authority.signs(DNS("client.example"))
    with mutual.upstream.sees_nothing(), mutual.gateway.connection(certificate) as connection:
        for path, fields, reference in (
            ("/named/1", (), "token-missing"),
            ("/any/1", ("Authorization: Bearer bad",), "token-malformed"),
            ("/named/1", (f"Authorization: Bearer {mint.token(aud='api://any')}",), "token-audience"),
        ):
            connection.sendall(head(f"GET {path} HTTP/1.1", "Host: gw.example", *fields))
            assert read_answer(connection).reference == reference


def test_T68_without_tls_a_policy_that_asks_for_certificates_lets_nobody_in(mutual: Mutual, mint: Mint) -> None:
    """A call in clear text on the TLS port is no call at all."""
    with mutual.upstream.sees_nothing():
        assert mutual.gateway.raw(head("GET /any/1 HTTP/1.1", "Host: gw.example", f"Authorization: Bearer {mint.token(aud='api://any')}"), timeout=1) == b""
