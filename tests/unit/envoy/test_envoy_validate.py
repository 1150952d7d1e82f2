"""What only Envoy itself can know is refused by ``--mode validate``, before anything is published."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scopeward.compile import Snapshot
from scopeward.envoy.binary import EnvoyBinary
from scopeward.envoy.validate import _without_secrets, validate
from scopeward.errors import ScopewardError
from tests.kit.compiling import Draft, compiled
from tests.kit.gateway import envoy

POLICY = """
version: 1
public_url: http://127.0.0.1:8080
issuers: {idp: {issuer: "https://idp.test/", audience: "api://a"}}
scopes: {read.a: {says: Read}}
clients: {sync: {kind: service, id: sync}}
apis: {a: {at: /a, upstream: "http://127.0.0.1:9001", rules: {"GET /{id}": {needs: read.a}}}}
"""
JWT = "envoy.filters.http.jwt_authn"

PLANTED: dict[str, tuple[Callable[[Draft], object], str]] = {
    "an unknown cluster": (lambda d: d.route("GET /a/{id}")["route"].update(cluster="upstream.other"), "upstream.other"),
    "a cluster that is gone": (lambda d: d.clusters.clear(), "upstream.a"),
    "keys that are none": (lambda d: d.extensions[JWT]["providers"]["idp"]["local_jwks"].update(inline_string='{"keys": [{"kty": "RSA"}]}'), "jwks"),
    "keys that are not JSON": (lambda d: d.extensions[JWT]["providers"]["idp"]["local_jwks"].update(inline_string="{"), "jwks"),
    "a regex that is none": (lambda d: d.route("GET /a/{id}")["match"].update(safe_regex={"regex": "/a/("}), "missing )"),
    "a requirement of an unknown provider": (
        lambda d: d.extensions[JWT]["requirement_map"].update(x={"provider_and_audiences": {"provider_name": "nobody"}}),
        "nobody",
    ),
    "a message of another type": (lambda d: d.extensions["decide"].update({"@type": "type.googleapis.com/envoy.type.v3.Percent"}), "envoy.type.v3.percent"),
    "an unknown field": (lambda d: d.manager.update(normalise_path=True), "normalise_path"),
    "an address that is none": (
        lambda d: d.clusters[0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"].update(address="nowhere"),
        "nowhere",
    ),
}


def planted(plant: Callable[[Draft], object]) -> Snapshot:
    draft = Draft(compiled(POLICY).snapshot)
    plant(draft)
    return draft.snapshot()


def test_envoy_accepts_what_is_compiled() -> None:
    asyncio.run(validate(compiled(POLICY).snapshot, envoy()))


@pytest.mark.parametrize("fault", PLANTED)
def test_envoy_refuses_a_planted_fault_and_says_which(fault: str) -> None:
    plant, said = PLANTED[fault]
    with pytest.raises(ScopewardError) as refused:
        asyncio.run(validate(planted(plant), envoy()))
    assert refused.value.reference.id == "envoy-rejected"
    assert said in refused.value.what.lower()


def test_a_binary_that_fails_without_a_word_is_a_refusal_too() -> None:
    silent = EnvoyBinary(path=Path("/bin/false"), version="1.40.0", digest="")
    with pytest.raises(ScopewardError, match="Envoy ended with status 1") as refused:
        asyncio.run(validate(compiled(POLICY).snapshot, silent))
    assert refused.value.reference.id == "envoy-rejected"


def test_what_envoy_quotes_of_a_secret_is_not_told() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n"
    draft = Draft(compiled(POLICY).snapshot)
    draft.secrets = {"a": {"name": "a", "generic_secret": {"secret": {"inline_string": "a-pass-that-is-secret"}}}}
    draft.listeners[0]["private_key"] = {"inline_string": key}
    words = (
        f"cannot read {json.dumps(key)}, {json.dumps(json.dumps(key))}, {key} nor 'a-pass-that-is-secret'; eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2ln and {key[:40]}"
    )
    said = _without_secrets(words, draft.snapshot())
    assert "a-pass" not in said
    assert "eyJ" not in said
    assert "MIGH" not in said
    assert "PRIVATE" not in said
    assert said.startswith("cannot read")


def test_a_validation_that_fails_on_a_secret_does_not_tell_it() -> None:
    draft = Draft(compiled(POLICY).snapshot)
    draft.listeners[0]["filter_chains"][0]["transport_socket"] = {
        "name": "tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"tls_certificates": [{"private_key": {"inline_strin": "a-key-that-is-secret"}}]},
        },
    }
    with pytest.raises(ScopewardError) as refused:
        asyncio.run(validate(draft.snapshot(), envoy()))
    assert "a-key-that-is-secret" not in str(refused.value)
