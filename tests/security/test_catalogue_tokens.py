"""Rows of the catalogue about tokens and keys: what verifies a token is the issuer's key and its one algorithm, and nothing that the token says."""

# ruff: noqa: N802  # the row's number is in the name, as the catalogue writes it

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwk

from scopeward.idp.keys import usable_keys
from tests.kit import http2
from tests.kit.gateway import Answer, RunningGateway
from tests.kit.tokens import Mint, b64, compact, hs256, sign, signing_key
from tests.kit.upstream import RecordingUpstream
from tests.kit.wire import head
from tests.security.conftest import NamedGateway, Upstreams

READ = "/orders/v1/42"

POLICY = """
version: 1
public_url: https://gw.example
issuers: {{dev: {{issuer: "https://idp.test/", audience: "api://orders", typ: {typ}, person: {{claim: idtyp, is: user}}}}}}
scopes: {{read.orders: {{says: Read orders}}}}
clients: {{order-sync: {{kind: service, id: order-sync}}, orders-web: {{kind: app, id: orders-web}}}}
apis: {{orders: {{at: /orders/v1, upstream: "{url}", rules: {{"GET /**": {{needs: read.orders}}}}}}}}
"""

# the six kinds of key that a provider may publish, and the algorithm that each is bound to
KEYS = {kind: signing_key(kind.lower(), kind) for kind in ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")}
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "ES256K")
SYMMETRIC = ("HS256", "HS384", "HS512")
UNSIGNED: tuple[Any, ...] = ("none", "None", "NONE", "nOnE", "", " none", ...)


@pytest.fixture(scope="module")
def upstream_of_keys() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def keyed(upstream_of_keys: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway to which any keys and either kind of issuer may be published."""
    text = POLICY.format(url=upstream_of_keys.url, typ="at+jwt")
    with NamedGateway(tmp_path_factory.mktemp("node"), text, published(*KEYS.values())) as running:
        yield running


def published(*keys: jwk.Key, **changes: Any) -> str:
    """The keys as the product would take them from a provider's document."""
    return usable_keys({"keys": [{k: v for k, v in (key.as_dict(private=False) | changes).items() if v is not ...} for key in keys]}, "https://idp.test/jwks")


def refuses(gateway: RunningGateway, upstream: RecordingUpstream, token: str) -> str:
    with upstream.sees_nothing():
        answer = gateway.get(READ, token)
    assert answer.status == 401, token
    assert answer.reference is not None
    assert 'error="invalid_token"' in (answer.challenge or "")
    return answer.reference


def lets_in(gateway: RunningGateway, upstream: RecordingUpstream, token: str) -> None:
    before = len(upstream.seen)
    assert gateway.get(READ, token).status == 200, token
    assert len(upstream.seen) == before + 1


# ── 27 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KEYS)
def test_T27_a_key_verifies_its_one_algorithm_and_no_other(kind: str, keyed: RunningGateway, mint: Mint, upstream_of_keys: RecordingUpstream) -> None:
    keyed.publish(POLICY.format(url=upstream_of_keys.url, typ="at+jwt"), published(*KEYS.values()))
    key = KEYS[kind]
    for alg in ALGORITHMS:
        for kid in (key.kid, ...):
            token = compact(mint.header(alg=alg, kid=kid), mint.claims(), key, alg)
            if alg == kind:
                lets_in(keyed, upstream_of_keys, token)
            else:
                assert refuses(keyed, upstream_of_keys, token) in {"token-unknown-key", "token-malformed", "token-verification-failed"}


@pytest.mark.parametrize("kind", KEYS)
def test_T27_a_public_key_is_no_shared_secret(kind: str, keyed: RunningGateway, mint: Mint, upstream_of_keys: RecordingUpstream) -> None:
    key = KEYS[kind]
    public: Any = key.public_key
    whole = key.as_dict(private=False)
    forms = {
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(whole).encode(),
        json.dumps(whole, separators=(",", ":")).encode(),
        str(whole.get("n", whole.get("x"))).encode(),
        base64.urlsafe_b64decode(str(whole.get("n", whole.get("x"))) + "=="),
        b"",
        b"secret",
    }
    for alg in SYMMETRIC:
        for secret in sorted(forms):
            assert refuses(keyed, upstream_of_keys, hs256(mint.header(alg=alg, kid=key.kid), mint.claims(), secret)) in {"token-unknown-key", "token-malformed"}
    lets_in(keyed, upstream_of_keys, compact(mint.header(alg=kind, kid=key.kid), mint.claims(), key, kind))


@pytest.mark.parametrize("alg", UNSIGNED)
def test_T27_an_unsigned_token_is_refused(alg: Any, keyed: RunningGateway, mint: Mint, upstream_of_keys: RecordingUpstream) -> None:
    signed = mint.token({"alg": alg, "kid": "rs256"})
    header = mint.header(alg=alg, kid="rs256")
    bare = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(mint.claims()).encode())}"
    for token in (signed, f"{bare}.", bare, f"{bare}.{b64(b'x')}", f"{bare}..", f"{bare}.="):
        assert refuses(keyed, upstream_of_keys, token) == "token-malformed"


def test_T27_a_symmetric_key_that_a_provider_publishes_is_not_taken(keyed: RunningGateway, mint: Mint, upstream_of_keys: RecordingUpstream) -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    document = {"keys": [{"kty": "oct", "kid": "shared", "alg": "HS256", "k": b64(secret)}, KEYS["RS256"].as_dict(private=False)]}
    keyed.publish(POLICY.format(url=upstream_of_keys.url, typ="at+jwt"), usable_keys(document, "https://idp.test/jwks"))
    for kid in ("shared", "rs256", ...):
        assert refuses(keyed, upstream_of_keys, hs256(mint.header(alg="HS256", kid=kid), mint.claims(), secret)) == "token-unknown-key"
    lets_in(keyed, upstream_of_keys, compact(mint.header(kid="rs256"), mint.claims(), KEYS["RS256"]))


# ── 28 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("of_key", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", ...])
def test_T28_header_key_and_signature_must_be_of_one_algorithm(of_key: Any, keyed: RunningGateway, mint: Mint, upstream_of_keys: RecordingUpstream) -> None:
    key = KEYS["RS256"]
    keyed.publish(POLICY.format(url=upstream_of_keys.url, typ="at+jwt"), published(key, alg=of_key))
    bound = "RS256" if of_key is ... else of_key
    for said in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
        for really in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
            token = compact(mint.header(alg=said, kid=key.kid), mint.claims(), key, really)
            if said == really == bound:
                lets_in(keyed, upstream_of_keys, token)
            else:
                assert refuses(keyed, upstream_of_keys, token) in {"token-unknown-key", "token-verification-failed"}


def test_T28_a_signature_of_another_length_or_form_is_refused(keyed: RunningGateway, mint: Mint, upstream_of_keys: RecordingUpstream) -> None:
    keyed.publish(POLICY.format(url=upstream_of_keys.url, typ="at+jwt"), published(*KEYS.values()))
    signed = ".".join(compact(mint.header(alg="ES256", kid="es256"), mint.claims(), KEYS["ES256"]).split(".")[:2])
    good = sign("ES256", KEYS["ES256"], signed.encode())
    lets_in(keyed, upstream_of_keys, f"{signed}.{b64(good)}")
    for bad in (
        b"\0" * 64,
        good[:-1],
        good + good,
        b"\0" + good,
        good[:32] + b"\0" + good[32:],
        good[32:] + good[:32],
        b"\0" * 32 + good[32:],
        good[:32] + b"\0" * 32,
        b"\x30\x44" + good,
    ):
        assert refuses(keyed, upstream_of_keys, f"{signed}.{b64(bad)}") == "token-verification-failed"
    assert refuses(keyed, upstream_of_keys, f"{signed}.") in {"token-malformed", "token-verification-failed"}
    for text in (b64(good) + "!", b64(good) + "=x", base64.b64encode(good).decode() + "+/"):  # RFC 6750 section 2.1
        with upstream_of_keys.sees_nothing():
            assert keyed.get(READ, f"{signed}.{text}").reference == "token-ambiguous"


def test_T28_another_spelling_of_a_revoked_token_is_revoked_too(gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    """The engine forgives a dot or padding behind a signature: a token's text is not its identity, its ``jti`` is."""
    for ending in ("", ".", "=="):
        assert refuses(gateway, orders, mint.token(jti="gone") + ending) == "token-revoked"
        lets_in(gateway, orders, mint.token() + ending)


# ── 29 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def of_stranger(mint: Mint, where: str) -> list[dict[str, Any]]:
    """Headers that bring a key of somebody else's, or say where one is."""
    stranger = signing_key("stranger")
    public = stranger.as_dict(private=False)
    return [
        {"jwk": public},
        {"jwk": public, "kid": ...},
        {"jwk": {**public, "kid": mint.key.kid}},
        {"jku": f"{where}/jwks"},
        {"jku": f"{where}/jwks", "kid": "stranger"},
        {"x5u": f"{where}/chain.pem"},
        {"x5c": ["MIIB"]},
        {"x5t": "AAAA", "x5t#S256": "AAAA"},
        {"jku": f"{where}/jwks", "x5u": f"{where}/chain.pem", "jwk": public, "kid": "stranger"},
    ]


def test_T29_a_key_that_the_token_brings_is_ignored_and_none_is_fetched(gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    stranger = signing_key("stranger")
    with RecordingUpstream(answer=b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}") as elsewhere:
        for changes in of_stranger(mint, elsewhere.url):
            assert refuses(gateway, orders, compact(mint.header(**changes), mint.claims(), stranger, "RS256")) in {
                "token-unknown-key",
                "token-verification-failed",
            }
            if changes.get("kid") != "stranger":
                lets_in(gateway, orders, mint.token(changes))
        assert elsewhere.accepted == 0


# ── 30 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

CRIT: tuple[Any, ...] = (["unknown"], [], ["exp"], ["exp", "exp"], ["alg"], ["b64"], "exp", "", {}, {"b64": True}, 0, 1, True, False, None, [None], [[]])


@pytest.mark.parametrize("crit", CRIT, ids=repr)
def test_T30_any_critical_header_is_refused(crit: Any, gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    assert refuses(gateway, orders, mint.token({"crit": crit})) == "token-crit"
    assert refuses(gateway, orders, mint.token({"crit": crit, "b64": False, "exp": 1})) == "token-crit"


def test_T30_a_critical_header_that_is_written_twice_is_refused(gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    claims = b64(json.dumps(mint.claims()).encode())
    for twice in ('"crit":["b64"],"crit":["b64"]', '"crit":["b64"],"crit":null', '"cr\\u0069t":["b64"]'):
        header = b64(f'{{"alg":"RS256","kid":"{mint.key.kid}","typ":"at+jwt",{twice}}}'.encode())
        signature = b64(sign("RS256", mint.key, f"{header}.{claims}".encode()))
        assert refuses(gateway, orders, f"{header}.{claims}.{signature}") in {"token-crit", "token-malformed"}


def test_T30_a_payload_that_is_not_encoded_is_refused(gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    """RFC 7797."""
    header = b64(json.dumps(mint.header(b64=False)).encode())
    payload = json.dumps(mint.claims()).replace(".", "\\u002e")
    signature = b64(sign("RS256", mint.key, f"{header}.{payload}".encode()))
    with orders.sees_nothing():
        assert gateway.get(READ, f"{header}.{payload}.{signature}").status in {400, 401}
    lets_in(gateway, orders, mint.token({"b64": True, "CRIT": ["b64"], "critical": ["b64"]}))


# ── 33 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("claim", "status", "reference"),
    [
        ("iss", 401, "token-issuer"),
        ("aud", 401, "token-audience"),
        ("exp", 401, "token-verification-failed"),
        ("iat", 401, "token-lifetime"),
        ("scope", 403, "scope-missing"),
        ("client_id", 403, "client-unlisted"),
        ("idtyp", 403, "person-missing"),
    ],
)
@pytest.mark.parametrize("value", [..., None, ""])
def test_T33_a_claim_that_is_missing_lets_nobody_in(
    claim: str, status: int, reference: str, value: Any, gateway: RunningGateway, mint: Mint, orders: RecordingUpstream
) -> None:
    with orders.sees_nothing():
        answer = gateway.get(READ, mint.person(**{claim: value}))
    assert answer.status == status
    assert answer.reference == (reference if value is ... or status == 403 else answer.reference)
    lets_in(gateway, orders, mint.person())


ID_TOKEN: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"typ": "JWT"}, {"nonce": "n"}),
    ({"typ": "JWT"}, {"at_hash": "h"}),
    ({"typ": "JWT"}, {"c_hash": "h"}),
    ({"typ": ...}, {"nonce": "n"}),
    ({"typ": "JWT"}, {"nonce": "n", "at_hash": "h", "scope": ...}),
    ({"typ": "JWT"}, {"scope": ...}),
    ({"typ": "JWT"}, {"client_id": ...}),
    ({"typ": "JWT"}, {"scope": ..., "client_id": ..., "azp": "order-sync", "nonce": "n"}),
    ({"typ": "logout+jwt"}, {}),
    ({"typ": "id_token+jwt"}, {}),
    ({"typ": "secevent+jwt"}, {}),
    ({"typ": "dpop+jwt"}, {}),
    ({"typ": "application/jwt"}, {}),
    ({"typ": ["at+jwt"]}, {}),
    ({"typ": None}, {"nonce": "n"}),
)


@pytest.mark.parametrize("typ", ["at+jwt", "any"])
def test_T33_an_id_token_is_no_access_token(typ: str, keyed: RunningGateway, mint: Mint, upstream_of_keys: RecordingUpstream) -> None:
    keyed.publish(POLICY.format(url=upstream_of_keys.url, typ=typ), published(mint.key))
    for header, claims in ID_TOKEN:
        assert refuses(keyed, upstream_of_keys, mint.token(header, **claims)) == "token-type", (header, claims)
        assert refuses(keyed, upstream_of_keys, mint.token(header, **({"sub": "alice", "client_id": "orders-web", "idtyp": "user"} | claims))) == "token-type"
    for spelling in ("at+jwt", "AT+JWT", "application/at+jwt"):
        lets_in(keyed, upstream_of_keys, mint.token({"typ": spelling}, nonce="n"))
    for header in ({"typ": "JWT"}, {"typ": "jwt"}, {"typ": ...}):
        if typ == "any":
            lets_in(keyed, upstream_of_keys, mint.token(header))
            lets_in(keyed, upstream_of_keys, mint.token(header, scope=..., scp=["read.orders"]))
        else:
            assert refuses(keyed, upstream_of_keys, mint.token(header)) == "token-type"


# ── 42 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

EVERYWHERE = (
    READ,
    "/orders/v1/health",
    "/raw/open",
    "/raw/1",
    "/nowhere",
    "/",
    "/.well-known/oauth-protected-resource/orders/v1",
    "/.well-known/scopeward/probe",
)


@pytest.mark.parametrize("path", EVERYWHERE)
def test_T42_two_tokens_are_refused_on_every_path_and_the_gateway_lives(path: str, gateway: RunningGateway, mint: Mint, upstreams: Upstreams) -> None:
    pid, good = gateway.node.pid, f"Bearer {mint.token()}"
    beside = path + ("&" if "?" in path else "?") + f"access_token={mint.token()}"
    doubled: list[Answer] = []
    with upstreams.orders.sees_nothing(), upstreams.raw.sees_nothing():
        for first, second in ((good, good), (good, "Bearer x"), ("Bearer x", good), (good, "Basic eDp5"), ("x", "y")):
            doubled.append(gateway.exchange(head(f"GET {path} HTTP/1.1", "Host: gw.example", f"Authorization: {first}", f"authorization: {second}")))
            doubled.append(gateway.exchange(head(f"GET {path} HTTP/1.1", "Host: gw.example", f"Authorization: {first}, {second}")))
            doubled.append(http2.call(gateway.port, "GET", path, [("authorization", first), ("authorization", second)]))
        doubled.append(gateway.get(beside, headers=[("Authorization", good)]))
        doubled.append(gateway.get(beside, headers=[("Authorization", "Basic eDp5")]))
    assert {(a.status, a.reference) for a in doubled} == {(400, "token-ambiguous")}
    assert gateway.node.pid == pid
    assert gateway.get(READ, mint.token()).status == 200


def test_T42_a_token_in_the_query_alone_is_none(gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    with orders.sees_nothing():
        assert gateway.get(f"{READ}?access_token={mint.token()}").reference == "token-missing"
    assert gateway.get(f"/orders/v1/health?access_token={mint.token(exp=int(time.time()) + 60)}").status == 200
