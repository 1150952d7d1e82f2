"""Which published keys count, and in what form."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from scopeward.errors import ScopewardError
from scopeward.idp.discovery import IssuerMetadata
from scopeward.idp.keys import fetch_keys, key_ids, usable_keys

_RSA = RSAKey.generate_key(2048, auto_kid=False)
_EC = {crv: ECKey.generate_key(crv, auto_kid=False) for crv in ("P-256", "P-384", "P-521", "secp256k1")}
_OKP = {crv: OKPKey.generate_key(crv, auto_kid=False) for crv in ("Ed25519", "X25519", "Ed448")}


def public(key: RSAKey | ECKey | OKPKey, **more: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": "k", **more}


def modulus(bits: int) -> str:
    return base64.urlsafe_b64encode((1 << (bits - 1) | 1).to_bytes((bits + 7) // 8)).rstrip(b"=").decode()


RSA = public(_RSA)
P256 = public(_EC["P-256"])


def kept(*keys: Any) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(usable_keys({"keys": list(keys)}, "https://a.test/jwks"))["keys"]
    return found


def dropped(*keys: Any) -> None:
    with pytest.raises(ScopewardError) as caught:
        kept(*keys)
    assert caught.value.reference.id == "idp-no-keys"
    assert "https://a.test/jwks" in caught.value.what


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (RSA, "RS256"),
        (P256, "ES256"),
        (public(_EC["P-384"]), "ES384"),
        (public(_EC["P-521"]), "ES512"),
        (public(_OKP["Ed25519"]), "EdDSA"),
    ],
)
def test_a_key_without_alg_is_bound_to_one(key: dict[str, Any], alg: str) -> None:
    (found,) = kept(key)
    assert found == {**key, "alg": alg}


ALL = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
OTHER = ["none", "None", "HS256", "HS512", "ES256K", "RSA-OAEP", "RSA1_5", "rs256", "", 7, None, ["RS256"], {"a": 1}]
FITTING = {"RSA": ALL[:6], "P-256": ["ES256"], "P-384": ["ES384"], "P-521": ["ES512"], "Ed25519": ["EdDSA"]}


@pytest.mark.parametrize("alg", ALL + OTHER, ids=repr)
@pytest.mark.parametrize("shape", FITTING)
def test_alg_must_fit_the_key(shape: str, alg: Any) -> None:
    key = RSA if shape == "RSA" else public({**_EC, **_OKP}[shape])
    if alg in FITTING[shape]:
        assert kept({**key, "alg": alg})[0]["alg"] == alg
    else:
        dropped({**key, "alg": alg})


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I", "kid": "k"},
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I", "kid": "k", "alg": "RS256"},
        {**RSA, "n": modulus(1024)},
        {**RSA, "n": modulus(2047)},
        {**RSA, "n": modulus(8193)},
        public(_EC["secp256k1"]),
        public(_OKP["X25519"]),
        public(_OKP["Ed448"]),
        _RSA.as_dict(private=True),
        _EC["P-256"].as_dict(private=True),
        _OKP["Ed25519"].as_dict(private=True),
        {**RSA, "d": "AQAB"},
        {**RSA, "k": "AQAB"},
        {**RSA, "use": "enc"},
        {**RSA, "use": None},
        {**RSA, "use": ["sig"]},
        {**RSA, "key_ops": ["sign"]},
        {**RSA, "key_ops": []},
        {**RSA, "key_ops": "verify"},
        {**RSA, "key_ops": None},
        {**RSA, "kid": 7},
        {**RSA, "kid": "a\u0000b"},
        {**RSA, "kid": "\ud800"},
        {**RSA, "kty": "rsa"},
        {**RSA, "kty": ["RSA"]},
        {**RSA, "e": "AQ"},  # 1
        {**RSA, "e": "Ag"},  # 2
        {**RSA, "e": "BAAAAAAB"},  # too large for the engine
        {**RSA, "e": ""},
        {**RSA, "n": "AQAB"},
        {**RSA, "n": RSA["n"] + "="},
        {**RSA, "n": "not base64url!"},
        {**RSA, "n": "A" * 4001},
        {k: v for k, v in RSA.items() if k != "n"},
        {**P256, "crv": "P-384"},
        {**P256, "crv": None},
        {**P256, "y": P256["x"]},  # not on the curve
        {**P256, "x": "AQAB"},
        {k: v for k, v in P256.items() if k != "y"},
        {"kty": "EC", "crv": "Ed25519", "x": P256["x"], "y": P256["y"]},
        {"kty": "OKP", "crv": "Ed25519", "x": "AQAB"},
        {},
        "key",
        None,
        ["RSA"],
    ],
    ids=map(str, itertools.count()),  # keys are made anew in each process: their text would not be the same in all
)
def test_what_cannot_verify_is_dropped(key: Any) -> None:
    dropped(key)
    assert [k["kid"] for k in kept(key, {**P256, "kid": "good"})] == ["good"]


@pytest.mark.parametrize("bits", [2048, 3072, 8192])
def test_an_rsa_key_of_an_accepted_size(bits: int) -> None:
    assert kept({**RSA, "n": modulus(bits)})[0]["n"] == modulus(bits)


@pytest.mark.parametrize("more", [{"use": "sig"}, {"key_ops": ["verify"]}, {"key_ops": ["sign", "verify"]}, {"use": "sig", "key_ops": ["verify"]}])
def test_keys_that_say_they_verify(more: dict[str, Any]) -> None:
    assert len(kept({**RSA, **more})) == 1


def test_only_what_is_needed_is_kept() -> None:
    (found,) = kept({**RSA, "use": "sig", "x5c": ["MII"], "x5t": "t", "x5u": "https://evil.test", "key_ops": ["verify"], "exp": 1, "issuer": "x"})
    assert sorted(found) == ["alg", "e", "kid", "kty", "n", "use"]


def test_leading_zeros_change_nothing() -> None:
    octets = b"\0" + base64.urlsafe_b64decode(RSA["n"] + "==")
    assert kept({**RSA, "n": base64.urlsafe_b64encode(octets).rstrip(b"=").decode()}) == kept(RSA)


def test_the_order_of_publishing_changes_nothing() -> None:
    keys = [{**RSA, "kid": "b"}, {**P256, "kid": "a"}, {**P256, "kid": "c"}, public(_OKP["Ed25519"], kid="a")]
    texts = {usable_keys({"keys": order}, "x") for order in (keys, keys[::-1], keys[2:] + keys[:2])}
    assert len(texts) == 1
    assert [k["kid"] for k in json.loads(texts.pop())["keys"]] == ["a", "a", "b", "c"]


def test_the_text_is_canonical() -> None:
    text = usable_keys({"keys": [P256]}, "x")
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert text.startswith('{"keys":[{"alg":"ES256","crv":"P-256","kid":"k","kty":"EC","x":"')


def test_of_two_keys_with_one_kid_and_alg_the_first_counts() -> None:
    other = public(ECKey.generate_key("P-256", auto_kid=False))
    assert kept(P256, other) == kept(P256)
    assert len(kept(P256, {**other, "kid": "other"})) == 2
    assert len(kept(RSA, {**RSA, "alg": "PS256"})) == 2


def test_keys_without_kid_are_told_apart_by_themselves() -> None:
    first, second = ({k: v for k, v in public(ECKey.generate_key("P-256", auto_kid=False)).items() if k != "kid"} for _ in range(2))
    assert len(kept(first, second, first)) == 2
    assert "kid" not in kept({**first, "kid": ""})[0]


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": None}, {"keys": "x"}])
def test_what_is_no_key_set(document: dict[str, Any]) -> None:
    with pytest.raises(ScopewardError) as caught:
        usable_keys(document, "x")
    assert caught.value.reference.id == "idp-document"


def test_no_keys_at_all() -> None:
    dropped()


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "use", "alg", "kid", "key_ops"]), _JSON | st.sampled_from(["RSA", "EC", "OKP"])),
        max_size=4,
    )
)
def test_nothing_published_breaks_the_reader(keys: list[dict[str, Any]]) -> None:
    found = kept(*keys, {**P256, "kid": "good"})
    assert {"good"} <= {key.get("kid") for key in found}
    assert not any({"d", "k", "p", "q"} & set(key) for key in found)


def test_the_ids_of_keys() -> None:
    assert key_ids(usable_keys({"keys": [{**RSA, "kid": "b"}, {**P256, "kid": "a"}, {k: v for k, v in P256.items() if k != "kid"}]}, "x")) == ("", "a", "b")


def served(metadata: dict[str, Any], keys: dict[str, Any]) -> httpx2.AsyncClient:
    def handle(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=keys if request.url.path == "/jwks" else metadata)

    return httpx2.AsyncClient(transport=httpx2.MockTransport(handle))


def test_fetching_keys() -> None:
    async def main() -> str:
        async with served({}, {"keys": [P256]}) as client:
            return await fetch_keys(IssuerMetadata("https://a.test", "https://a.test/jwks"), client)

    assert asyncio.run(main()) == usable_keys({"keys": [P256]}, "x")
