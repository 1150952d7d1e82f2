from __future__ import annotations

import pytest

from scopeward.issuer.tokens import half_hash

from .conftest import AUDIENCE, CALLBACK, CHALLENGE, ISSUER, Provider, form_of, location_of, part_of, refused

COPILOT = ("claims-copilot", "dev-claims-copilot")


def test_a_person_signs_in_and_the_client_gets_tokens(provider: Provider) -> None:
    sent = location_of(provider.choose(provider.authorize(), person="alice"))
    assert sent["state"] == "st4te"
    assert sent["iss"] == ISSUER
    response = provider.exchange(sent["code"])
    answer = response.json()
    assert response.headers["cache-control"] == "no-store"
    assert set(answer) == {"access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token"}
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 300, "openid profile email read.orders")


def test_the_access_token_is_of_rfc_9068(provider: Provider) -> None:
    token = provider.exchange(provider.code()).json()["access_token"]
    assert part_of(token, 0) == {"typ": "at+jwt", "alg": "RS256", "kid": provider.keys.signing_kid}
    claims = part_of(token, 1)
    assert len(claims.pop("jti")) >= 20
    assert claims == {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "client_id": "orders-web",
        "iat": 1_790_000_000,
        "exp": 1_790_000_300,
        "scope": "openid profile email read.orders",
        "idtyp": "user",
        "roles": ["Order.Clerk"],
    }


def test_the_id_token_is_for_the_client(provider: Provider) -> None:
    answer = provider.exchange(provider.code()).json()
    assert part_of(answer["id_token"], 0)["typ"] == "JWT"
    assert part_of(answer["id_token"], 1) == {
        "iss": ISSUER,
        "aud": "orders-web",
        "sub": "alice",
        "iat": 1_790_000_000,
        "exp": 1_790_000_300,
        "auth_time": 1_790_000_000,
        "nonce": "n0nce",
        "at_hash": half_hash(answer["access_token"]),
        "name": "Alice Reader",
        "preferred_username": "alice",
        "email": "alice@example.test",
        "email_verified": True,
    }


def test_at_hash_is_that_of_the_specification() -> None:
    # OpenID Connect Core appendix A.3
    assert half_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y") == "77QmUPtjPfzWtF2AnpK9RQ"


def test_without_openid_there_is_no_id_token(provider: Provider) -> None:
    assert "id_token" not in provider.exchange(provider.code(scope="read.orders")).json()


def test_no_scope_means_all_of_the_client(provider: Provider) -> None:
    assert provider.exchange(provider.code(scope=None)).json()["scope"] == "read.orders create.orders read.stock"


def test_a_confidential_client_needs_its_secret_too(provider: Provider) -> None:
    code = provider.code(client_id="claims-copilot")
    refused(provider.exchange(code, client_id="claims-copilot"), "invalid_client", 401)
    answer = provider.exchange(code, COPILOT).json()
    claims = part_of(answer["access_token"], 1)
    assert (claims["sub"], claims["client_id"], claims["idtyp"]) == ("alice", "claims-copilot", "user")


def test_a_code_is_good_once_and_a_replay_revokes_what_it_issued(provider: Provider) -> None:
    code = provider.code()
    answer = provider.exchange(code).json()
    assert provider.userinfo(answer["access_token"]).status_code == 200
    refused(provider.exchange(code), "invalid_grant")
    refused(provider.refresh(answer["refresh_token"]), "invalid_grant")
    assert provider.userinfo(answer["access_token"]).status_code == 401


def test_a_code_runs_out(provider: Provider) -> None:
    code = provider.code()
    provider.clock.time += 60
    refused(provider.exchange(code), "invalid_grant")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_verifier": "another-verifier-of-forty-three-characters-or-more"}, "invalid_grant"),
        ({"code_verifier": CHALLENGE}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"code_verifier": "\u00e9" * 43}, "invalid_request"),
        ({"code_verifier": None}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:50124/callback"}, "invalid_grant"),
        ({"redirect_uri": None}, "invalid_grant"),
    ],
)
def test_a_code_without_its_proof_is_refused_and_spent(provider: Provider, change: dict[str, str | None], error: str) -> None:
    code = provider.code()
    refused(provider.exchange(code, **change), error)  # type: ignore[arg-type]
    refused(provider.exchange(code), "invalid_grant")


def test_a_guessed_or_missing_code_is_refused(provider: Provider) -> None:
    refused(provider.exchange("guess"), "invalid_grant")
    refused(provider.exchange(None), "invalid_request")


def test_a_code_is_not_good_for_another_client(provider: Provider) -> None:
    refused(provider.exchange(provider.code(), COPILOT), "invalid_grant")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"scope": "read.orders delete.orders"}, "invalid_scope"),
        ({"scope": "no.such"}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"resource": "orders"}, "invalid_target"),
        ({"resource": "https://api.example.test/#part"}, "invalid_target"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
        ({"request": "e30.e30."}, "request_not_supported"),
        ({"request_uri": "https://example.test/request"}, "request_uri_not_supported"),
    ],
)
def test_a_request_that_cannot_be_granted_goes_back_to_the_client(provider: Provider, change: dict[str, str | None], error: str) -> None:
    response = provider.authorize(**change)
    sent = location_of(response)
    assert response.headers["location"].startswith(CALLBACK + "?")
    assert (sent["error"], sent["state"], sent["iss"]) == (error, "st4te", ISSUER)
    assert "code" not in sent


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "nobody"},
        {"client_id": None},
        {"client_id": 'no"body'},
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.test/callback"},
        {"redirect_uri": CALLBACK + '"'},
        {"redirect_uri": CALLBACK + "/"},
        {"client_id": "order-sync"},
    ],
)
def test_a_request_of_nobody_knows_whom_is_never_redirected(provider: Provider, change: dict[str, str | None]) -> None:
    response = provider.authorize(**change)
    assert response.status_code == 400
    assert "location" not in response.headers
    assert "data-error=" in response.text


@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "resource", "anything"])
def test_a_parameter_given_twice_is_refused(provider: Provider, name: str) -> None:
    pairs = [*provider.asked.items(), *([(name, "a")] * (1 if name in provider.asked else 2))]
    response = provider.http.get("/authorize", params=pairs)
    assert response.status_code == 400
    assert "invalid_request" in response.text


def test_the_resource_becomes_the_audience_and_binds_the_grant(provider: Provider) -> None:
    code = provider.code(resource="https://orders.example.test")
    answer = provider.exchange(code, resource="https://orders.example.test").json()
    assert part_of(answer["access_token"], 1)["aud"] == "https://orders.example.test"
    refused(provider.refresh(answer["refresh_token"], resource="https://stock.example.test"), "invalid_target")
    again = provider.refresh(answer["refresh_token"]).json()
    assert part_of(again["access_token"], 1)["aud"] == "https://orders.example.test"


def test_a_resource_named_only_at_the_token_endpoint_binds_the_grant_too(provider: Provider) -> None:
    answer = provider.exchange(provider.code(), resource="api://orders").json()
    assert part_of(answer["access_token"], 1)["aud"] == "api://orders"
    refused(provider.refresh(answer["refresh_token"], resource=AUDIENCE), "invalid_target")


def test_a_code_for_one_resource_gives_no_token_for_another(provider: Provider) -> None:
    refused(provider.exchange(provider.code(resource="api://orders"), resource="api://stock"), "invalid_target")


def test_cancelling_is_told_to_the_client(provider: Provider) -> None:
    sent = location_of(provider.choose(provider.authorize(), deny="yes"))
    assert (sent["error"], sent["state"], sent["iss"]) == ("access_denied", "st4te", ISSUER)


def test_a_registered_query_is_kept_in_the_redirect(provider: Provider) -> None:
    assert location_of(provider.choose(provider.authorize(state="a&b=c"), person="bob"))["state"] == "a&b=c"


def test_two_sign_ins_of_one_browser_do_not_disturb_each_other(provider: Provider) -> None:
    first, second = provider.authorize(), provider.authorize()
    assert form_of(first) != form_of(second)
    assert "code" in location_of(provider.choose(first, person="alice"))
    assert "code" in location_of(provider.choose(second, person="bob"))
