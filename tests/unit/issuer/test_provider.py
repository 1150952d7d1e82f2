from __future__ import annotations

from collections.abc import Callable

import pytest

from scopeward.errors import ScopewardError
from scopeward.issuer import ProviderOptions, SigningKeys, default_accounts, development_provider
from scopeward.issuer.loopback import is_loopback, open_loopback_socket

from .conftest import ADMIN, AUDIENCE, ISSUER, Provider, StoppedClock, refused


def test_both_metadata_documents_are_the_same_and_name_the_issuer(provider: Provider) -> None:
    one = provider.http.get("/.well-known/openid-configuration").json()
    assert one == provider.http.get("/.well-known/oauth-authorization-server").json()
    assert one["issuer"] == ISSUER
    assert one["code_challenge_methods_supported"] == ["S256"]
    assert one["authorization_response_iss_parameter_supported"] is True
    assert set(one["grant_types_supported"]) == {"authorization_code", "client_credentials", "refresh_token"}
    for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"):
        assert one[name].startswith(ISSUER + "/")
        assert provider.http.get(one[name]).status_code != 404


def test_jwks_and_health(provider: Provider) -> None:
    (key,) = provider.http.get("/jwks").json()["keys"]
    assert key["kid"] == provider.keys.signing_kid
    assert "d" not in key
    assert provider.http.get("/healthz").json() == {"status": "ok"}


# userinfo


def test_userinfo_tells_what_the_scopes_ask(provider: Provider) -> None:
    token = provider.exchange(provider.code()).json()["access_token"]
    assert provider.userinfo(token).json() == {
        "sub": "alice",
        "name": "Alice Reader",
        "preferred_username": "alice",
        "email": "alice@example.test",
        "email_verified": True,
    }
    token = provider.exchange(provider.code("bob", scope="openid")).json()["access_token"]
    assert provider.userinfo(token).json() == {"sub": "bob"}


def test_userinfo_refuses_what_is_not_a_good_access_token_of_a_person(provider: Provider) -> None:
    answer = provider.exchange(provider.code(), lifetime="1").json()
    assert provider.http.get("/userinfo").headers["www-authenticate"] == "Bearer"
    for token in ("x", answer["id_token"], answer["access_token"][:-8] + "AAAAAAAA"):
        response = provider.userinfo(token)
        refused(response, "invalid_token", 401)
        assert 'error="invalid_token"' in response.headers["www-authenticate"]
    own = provider.token(("order-sync", "dev-order-sync"), grant_type="client_credentials").json()["access_token"]
    refused(provider.userinfo(own), "insufficient_scope", 403)
    plain = provider.exchange(provider.code(scope="read.orders")).json()["access_token"]
    refused(provider.userinfo(plain), "insufficient_scope", 403)
    provider.clock.time += 1
    refused(provider.userinfo(answer["access_token"]), "invalid_token", 401)
    twice = [("Authorization", f"Bearer {own}"), ("Authorization", f"Bearer {own}")]
    refused(provider.http.get("/userinfo", headers=twice), "invalid_request")


# rotation


def test_rotation_by_command(make_provider: Callable[..., Provider]) -> None:
    provider = make_provider(alg="ES256")
    first = provider.keys.signing_kid
    headers = {"Authorization": f"Bearer {ADMIN}"}
    answer = provider.http.post("/dev/rotate?mode=publish", headers=headers).json()
    assert answer["signing"] == first
    assert [key["kid"] for key in provider.http.get("/jwks").json()["keys"]] == answer["published"]
    assert len(answer["published"]) == 2
    answer = provider.http.post("/dev/rotate?mode=promote", headers=headers).json()
    assert answer["signing"] == answer["published"][1] != first
    assert provider.http.post("/dev/rotate?mode=drop", headers=headers).json()["published"] == [answer["signing"]]
    assert provider.http.post("/dev/rotate?mode=hard", headers=headers).json()["published"] != [answer["signing"]]


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer wrong", f"Basic {ADMIN}", ADMIN])
def test_rotation_needs_the_admin_token(provider: Provider, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    refused(provider.http.post("/dev/rotate?mode=hard", headers=headers), "invalid_token", 401)
    assert len(provider.keys.published_kids) == 1


@pytest.mark.parametrize("query", ["", "?mode=", "?mode=other", "?mode=drop&mode=hard"])
def test_rotation_needs_one_mode(provider: Provider, query: str) -> None:
    refused(provider.http.post(f"/dev/rotate{query}", headers={"Authorization": f"Bearer {ADMIN}"}), "invalid_request")


def test_without_an_admin_token_there_is_no_rotation() -> None:
    app = development_provider(default_accounts(), SigningKeys.create("ES256"), ProviderOptions(ISSUER, AUDIENCE, alg="ES256"), StoppedClock())
    assert "/dev/rotate" not in [getattr(route, "path", "") for route in app.routes]


# loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9400", "127.8.9.1:80", "localhost", "LOCALHOST:1", "[::1]:9400"])
def test_a_loopback_host_is_served(provider: Provider, host: str) -> None:
    assert provider.http.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:9400",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "128.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::ffff:127.0.0.1]",
        "127.1",
        "2130706433",
        "127.0.0.1@evil.test",
        "127.0.0.1:x",
        "",
        " ",
        "a b",
    ],
)
def test_a_host_that_was_rebound_is_refused(provider: Provider, host: str) -> None:
    for path in ("/healthz", "/jwks", "/authorize", "/nothing"):
        assert provider.http.get(path, headers={"Host": host}).status_code == 421


def test_two_hosts_are_refused(provider: Provider) -> None:
    assert provider.http.get("/healthz", headers=[("Host", "127.0.0.1"), ("Host", "127.0.0.1")]).status_code == 421


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.test", "", "localhost.evil.test"])
def test_the_provider_binds_to_loopback_only(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ScopewardError) as error:
        open_loopback_socket(host, 0)
    assert error.value.reference.id == "address-not-usable"


def test_a_port_in_use_is_told() -> None:
    with open_loopback_socket("localhost", 0) as taken:
        assert taken.getsockname()[0] == "127.0.0.1"
        with pytest.raises(ScopewardError) as error:
            open_loopback_socket("127.0.0.1", taken.getsockname()[1])
    assert error.value.reference.id == "port-in-use"


# options


@pytest.mark.parametrize(
    "issuer",
    [
        "https://127.0.0.1:1",
        "http://example.test",
        "http://127.0.0.1:1/",
        "http://127.0.0.1:1/x",
        "http://127.0.0.1:x",
        "http://a@127.0.0.1",
        "127.0.0.1:1",
        "http://[",
        "",
    ],
)
def test_an_issuer_that_is_not_loopback_is_refused(issuer: str) -> None:
    with pytest.raises(ScopewardError) as error:
        ProviderOptions(issuer, AUDIENCE)
    assert error.value.reference.id == "address-not-usable"


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:9400", "http://localhost:80", "http://[::1]:9400", "http://127.0.0.1"])
def test_a_loopback_issuer_is_taken(issuer: str) -> None:
    assert ProviderOptions(issuer, AUDIENCE).issuer == issuer


@pytest.mark.parametrize("lifetime", [0, 86_401])
def test_a_lifetime_out_of_bounds_is_refused(lifetime: int) -> None:
    with pytest.raises(ScopewardError):
        ProviderOptions(ISSUER, AUDIENCE, lifetime)


def test_keys_and_options_must_agree() -> None:
    with pytest.raises(ValueError, match="ES256"):
        development_provider(default_accounts(), SigningKeys.create("ES256"), ProviderOptions(ISSUER, AUDIENCE), StoppedClock())
