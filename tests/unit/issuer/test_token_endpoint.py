from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable

import pytest

from .conftest import AUDIENCE, ISSUER, Provider, part_of, refused

SYNC = ("order-sync", "dev-order-sync")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_client_credentials_by_basic_and_by_post(provider: Provider) -> None:
    for response in (
        provider.token(SYNC, grant_type="client_credentials", scope="read.orders"),
        provider.token(grant_type="client_credentials", scope="read.orders", client_id=SYNC[0], client_secret=SYNC[1]),
    ):
        assert response.headers["cache-control"] == "no-store"
        answer = response.json()
        assert set(answer) == {"access_token", "token_type", "expires_in", "scope"}
        claims = part_of(answer["access_token"], 1)
        claims.pop("jti")
        assert claims == {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "order-sync",
            "client_id": "order-sync",
            "iat": 1_790_000_000,
            "exp": 1_790_000_300,
            "scope": "read.orders",
            "idtyp": "app",
        }


def test_every_token_has_its_own_jti(provider: Provider) -> None:
    tokens = [provider.token(SYNC, grant_type="client_credentials").json()["access_token"] for _ in range(3)]
    assert len({part_of(token, 1)["jti"] for token in tokens}) == 3


def test_no_scope_means_all_of_the_client_and_a_scope_twice_counts_once(provider: Provider) -> None:
    assert provider.token(SYNC, grant_type="client_credentials").json()["scope"] == "read.orders create.orders delete.orders"
    answer = provider.token(SYNC, grant_type="client_credentials", scope="read.orders  read.orders").json()
    assert answer["scope"] == "read.orders"


@pytest.mark.parametrize("scope", ["read.stock", "no.such", "read.orders read.stock", "openid", "offline_access"])
def test_a_scope_that_the_client_may_not_have_is_refused(provider: Provider, scope: str) -> None:
    refused(provider.token(SYNC, grant_type="client_credentials", scope=scope), "invalid_scope")


def test_scopes_as_an_array(make_provider: Callable[..., Provider]) -> None:
    provider = make_provider(scope_form="array")
    answer = provider.token(SYNC, grant_type="client_credentials", scope="read.orders create.orders").json()
    claims = part_of(answer["access_token"], 1)
    assert claims["scp"] == ["read.orders", "create.orders"]
    assert "scope" not in claims
    assert provider.userinfo(provider.exchange(provider.code()).json()["access_token"]).status_code == 200


def test_es256(make_provider: Callable[..., Provider]) -> None:
    token = make_provider(alg="ES256").token(SYNC, grant_type="client_credentials").json()["access_token"]
    assert part_of(token, 0)["alg"] == "ES256"


def test_the_life_of_tokens_by_option_and_by_request(make_provider: Callable[..., Provider]) -> None:
    provider = make_provider(lifetime=60)
    for more, seconds in (({}, 60), ({"lifetime": "1"}, 1), ({"lifetime": "86400"}, 86_400)):
        answer = provider.token(SYNC, grant_type="client_credentials", **more).json()
        claims = part_of(answer["access_token"], 1)
        assert answer["expires_in"] == claims["exp"] - claims["iat"] == seconds


@pytest.mark.parametrize("lifetime", ["0", "86401", "-1", "1.5", "ten", "١", "1" * 5000])
def test_a_lifetime_out_of_bounds_is_refused(provider: Provider, lifetime: str) -> None:
    refused(provider.token(SYNC, grant_type="client_credentials", lifetime=lifetime), "invalid_request")


@pytest.mark.parametrize("resource", ["https://orders.example.test/v1", "api://orders", "urn:example:orders", AUDIENCE])
def test_the_resource_becomes_the_audience(provider: Provider, resource: str) -> None:
    answer = provider.token(SYNC, grant_type="client_credentials", resource=resource).json()
    assert part_of(answer["access_token"], 1)["aud"] == resource


@pytest.mark.parametrize("resource", ["orders", "/orders", "https://a.test/#b", "https:", "https://[", "https://a test"])
def test_a_bad_resource_is_refused(provider: Provider, resource: str) -> None:
    refused(provider.token(SYNC, grant_type="client_credentials", resource=resource), "invalid_target")


@pytest.mark.parametrize("basic", [("order-sync", "wrong"), ("order-sync", ""), ("nobody", "dev-order-sync"), ("orders-web", "x"), ("", "")])
def test_a_wrong_secret_is_refused_and_does_not_tell_whether_the_client_exists(provider: Provider, basic: tuple[str, str]) -> None:
    response = provider.token(basic, grant_type="client_credentials")
    assert refused(response, "invalid_client", 401) == "Client authentication failed."
    assert response.headers["www-authenticate"].startswith("Basic ")
    by_post = provider.token(grant_type="client_credentials", client_id=basic[0], client_secret=basic[1])
    assert refused(by_post, "invalid_client", 401) == "Client authentication failed."


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic \u00ff", "Basic " + b64encode(b"\xff\xfe:\xff").decode(), "Bearer x", "x" * 1000])
def test_a_malformed_authorization_header_is_refused(provider: Provider, header: str) -> None:
    headers = {"Authorization": header.encode("latin-1")}
    response = provider.http.post("/token", data={"grant_type": "client_credentials"}, headers=headers)
    refused(response, "invalid_client", 401)


def test_a_public_client_proves_nothing_by_a_header(provider: Provider) -> None:
    response = provider.exchange(provider.code(), ("orders-web", "x"), client_id="orders-web")
    refused(response, "invalid_client", 401)


def test_two_ways_to_authenticate_are_refused(provider: Provider) -> None:
    response = provider.token(SYNC, grant_type="client_credentials", client_id=SYNC[0], client_secret=SYNC[1])
    refused(response, "invalid_request")
    response = provider.http.post("/token", data={"grant_type": "client_credentials"}, headers=[("Authorization", "Basic x"), ("Authorization", "Basic y")])
    refused(response, "invalid_request")


def test_a_client_id_beside_the_header_must_agree(provider: Provider) -> None:
    refused(provider.token(SYNC, grant_type="client_credentials", client_id="stock-report"), "invalid_client", 401)
    assert provider.token(SYNC, grant_type="client_credentials", client_id="order-sync").status_code == 200


@pytest.mark.parametrize(
    ("basic", "grant", "error", "status"),
    [
        (SYNC, "authorization_code", "unauthorized_client", 400),
        (SYNC, "refresh_token", "unauthorized_client", 400),
        (SYNC, "password", "unsupported_grant_type", 400),
        (SYNC, "implicit", "unsupported_grant_type", 400),
        (SYNC, "", "invalid_request", 400),
        (None, "client_credentials", "invalid_client", 401),
    ],
)
def test_a_grant_that_the_client_or_the_provider_does_not_have(provider: Provider, basic: tuple[str, str] | None, grant: str, error: str, status: int) -> None:
    refused(provider.token(basic, grant_type=grant), error, status)


def test_a_public_client_has_no_credentials_of_its_own(provider: Provider) -> None:
    refused(provider.token(grant_type="client_credentials", client_id="orders-web"), "invalid_client", 401)


@pytest.mark.parametrize(
    "body",
    [
        "grant_type=client_credentials&grant_type=client_credentials",
        "grant_type=client_credentials&scope=read.orders&scope=delete.orders",
        "grant_type=client_credentials&scope=&scope=delete.orders",
        "grant_type=client_credentials&resource=api://a&resource=api://b",
        "grant_type=client_credentials&client_id=order-sync&client_id=stock-report",
        "grant_type=client_credentials&lifetime=1&lifetime=2",
        "grant_type=client_credentials&x=1&x=2",
        "grant_type=client_credentials&x=%ff",
        "grant_type=client_credentials&scope=%22",
        "grant_type=client_credentials&scope=a%0Ab",
        "grant_type=client_credentials&" + "&".join(f"a{n}=" for n in range(100)),
        "grant_type=client_credentials&x=" + "a" * 70_000,
        b"grant_type=client_credentials&x=\xff",
    ],
)
def test_parameters_that_can_be_read_in_two_ways_are_refused(provider: Provider, body: str | bytes) -> None:
    refused(provider.http.post("/token", content=body, headers=FORM, auth=SYNC), "invalid_request")


def test_an_empty_parameter_counts_as_not_given(provider: Provider) -> None:
    assert provider.token(SYNC, grant_type="client_credentials", scope="", resource="").status_code == 200


def test_parameters_in_the_url_or_in_json_are_refused(provider: Provider) -> None:
    refused(provider.http.post("/token?client_secret=x", data={"grant_type": "client_credentials"}, auth=SYNC), "invalid_request")
    refused(provider.http.post("/token", json={"grant_type": "client_credentials"}, auth=SYNC), "invalid_request")
    assert provider.http.get("/token").status_code == 405


# refresh tokens


def test_a_refresh_token_rotates_and_keeps_the_grant(provider: Provider) -> None:
    first = provider.exchange(provider.code()).json()
    provider.clock.time += 1000
    second = provider.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    claims = part_of(second["access_token"], 1)
    assert (claims["sub"], claims["scope"], claims["iat"]) == ("alice", first["scope"], 1_790_001_000)
    id_claims = part_of(second["id_token"], 1)
    assert id_claims["auth_time"] == 1_790_000_000  # OpenID Connect Core section 12.2
    assert "nonce" not in id_claims
    assert provider.refresh(second["refresh_token"]).status_code == 200


def test_using_a_refresh_token_again_kills_the_family(provider: Provider) -> None:
    first = provider.exchange(provider.code()).json()
    second = provider.refresh(first["refresh_token"]).json()
    refused(provider.refresh(first["refresh_token"]), "invalid_grant")
    refused(provider.refresh(second["refresh_token"]), "invalid_grant")
    assert provider.userinfo(second["access_token"]).status_code == 401


def test_another_family_lives_on(provider: Provider) -> None:
    other = provider.exchange(provider.code()).json()
    first = provider.exchange(provider.code()).json()
    for _ in range(2):
        provider.refresh(first["refresh_token"])
    assert provider.refresh(other["refresh_token"]).status_code == 200


def test_a_refresh_token_of_another_client_is_refused_and_its_family_dies(provider: Provider) -> None:
    first = provider.exchange(provider.code()).json()
    stolen = provider.token(("claims-copilot", "dev-claims-copilot"), grant_type="refresh_token", refresh_token=first["refresh_token"])
    refused(stolen, "invalid_grant")
    refused(provider.refresh(first["refresh_token"]), "invalid_grant")


def test_a_refresh_narrows_the_access_token_only(provider: Provider) -> None:
    first = provider.exchange(provider.code(scope="read.orders create.orders")).json()
    second = provider.refresh(first["refresh_token"], scope="read.orders").json()
    assert second["scope"] == "read.orders"
    assert provider.refresh(second["refresh_token"]).json()["scope"] == "read.orders create.orders"


def test_a_refused_refresh_costs_nothing(provider: Provider) -> None:
    first = provider.exchange(provider.code(scope="read.orders")).json()
    refused(provider.refresh(first["refresh_token"], scope="create.orders"), "invalid_scope")
    refused(provider.refresh(first["refresh_token"], lifetime="0"), "invalid_request")
    assert provider.refresh(first["refresh_token"]).status_code == 200


@pytest.mark.parametrize("token", ["guess", "\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), "a" * 5000])
def test_an_unknown_refresh_token_is_refused(provider: Provider, token: str) -> None:
    refused(provider.refresh(token), "invalid_grant")


def test_a_refresh_token_runs_out(provider: Provider) -> None:
    first = provider.exchange(provider.code()).json()
    provider.clock.time += 86_400
    refused(provider.refresh(first["refresh_token"]), "invalid_grant")


def test_a_missing_refresh_token_is_an_invalid_request(provider: Provider) -> None:
    refused(provider.token(grant_type="refresh_token", client_id="orders-web"), "invalid_request")


def test_nothing_secret_is_logged(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    code = provider.code()
    first = provider.exchange(code).json()
    second = provider.refresh(first["refresh_token"]).json()
    third = provider.token(SYNC, grant_type="client_credentials").json()
    provider.token(("order-sync", "wrong-secret"), grant_type="client_credentials")
    provider.http.post("/dev/rotate?mode=publish", headers={"Authorization": "Bearer the-admin-token"})
    texts = [record.getMessage() for record in caplog.records]
    assert any(text.startswith("access token issued: client=orders-web sub=alice") for text in texts)
    secrets = [code, SYNC[1], "wrong-secret", "the-admin-token"]
    secrets += [answer[name] for answer in (first, second, third) for name in ("access_token", "refresh_token", "id_token") if name in answer]
    for secret in secrets:
        assert not [text for text in texts if secret in text]
