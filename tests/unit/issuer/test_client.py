"""``obtain_token`` against a provider on a real socket, and against providers that misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from scopeward.app import SystemClock
from scopeward.errors import ScopewardError
from scopeward.issuer import ProviderOptions, SigningKeys, default_accounts, development_provider, obtain_token, open_loopback_socket, provider_server
from scopeward.secret import Secret

from .conftest import AUDIENCE, part_of


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """The issuer URL of a provider that runs."""
    listener = open_loopback_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = development_provider(default_accounts(), SigningKeys.create("ES256"), ProviderOptions(url, AUDIENCE, alg="ES256"), SystemClock())
    server = provider_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield url
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def refusal(issuer: str, client_id: str = "order-sync", **asked: object) -> ScopewardError:
    with pytest.raises(ScopewardError) as error:
        obtain_token(issuer, client_id, **asked)  # type: ignore[arg-type]
    return error.value


def test_a_client_gets_a_token_for_itself(issuer: str) -> None:
    answer = obtain_token(issuer, "order-sync", secret=Secret("dev-order-sync"), scopes=["read.orders"], resource="api://orders", lifetime=5)
    claims = part_of(answer.access_token.reveal(), 1)
    assert (claims["sub"], claims["aud"], claims["scope"]) == ("order-sync", "api://orders", "read.orders")
    assert (answer.expires_in, answer.scope, answer.refresh_token, answer.id_token) == (5, "read.orders", None, None)


def test_a_person_signs_in_at_a_public_client(issuer: str) -> None:
    answer = obtain_token(issuer, "orders-web", person="alice", scopes=["openid", "read.orders"])
    claims = part_of(answer.access_token.reveal(), 1)
    assert (claims["sub"], claims["client_id"], claims["roles"]) == ("alice", "orders-web", ["Order.Clerk"])
    assert answer.refresh_token is not None
    assert answer.id_token is not None
    assert part_of(answer.id_token.reveal(), 1)["aud"] == "orders-web"


def test_a_person_signs_in_at_an_agent(issuer: str) -> None:
    answer = obtain_token(issuer, "claims-copilot", secret=Secret("dev-claims-copilot"), person="bob")
    claims = part_of(answer.access_token.reveal(), 1)
    assert (claims["sub"], claims["client_id"], claims["idtyp"]) == ("bob", "claims-copilot", "user")


def test_the_answer_hides_its_tokens(issuer: str) -> None:
    answer = obtain_token(issuer, "orders-web", person="alice", scopes=["openid"])
    assert answer.access_token.reveal() not in repr(answer)
    assert "eyJ" not in repr(answer)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"secret": Secret("wrong-one")}, "invalid_client: Client authentication failed."),
        ({}, "invalid_client"),
        ({"secret": Secret("dev-order-sync"), "scopes": ["read.stock"]}, "invalid_scope"),
        ({"secret": Secret("dev-order-sync"), "resource": "orders"}, "invalid_target"),
        ({"secret": Secret("dev-order-sync"), "lifetime": 0}, "invalid_request"),
        ({"secret": Secret("dev-order-sync"), "person": "alice"}, "invalid_request: Redirect URI"),
        ({"client_id": "orders-web", "person": "mallory"}, "There is no such person."),
        ({"client_id": "orders-web", "person": "alice", "scopes": ["delete.orders"]}, "invalid_scope"),
        ({"client_id": "nobody", "person": "alice"}, "invalid_client"),
    ],
)
def test_a_refusal_tells_what_the_provider_said(issuer: str, asked: dict[str, object], told: str) -> None:
    error = refusal(issuer, **{"client_id": "order-sync", **asked})  # type: ignore[arg-type]
    assert error.reference.id == "token-refused"
    assert told in error.what
    assert "wrong-one" not in repr(error)


def test_nobody_listens() -> None:
    with open_loopback_socket("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    assert refusal(f"http://127.0.0.1:{port}").reference.id == "idp-unreachable"


def test_clear_text_is_for_loopback_only() -> None:
    assert refusal("http://idp.example.test").reference.id == "idp-insecure"
    assert refusal("http://[").reference.id == "idp-document"


IDP = "https://idp.example.test"
METADATA = {"issuer": IDP, "token_endpoint": f"{IDP}/token", "authorization_endpoint": f"{IDP}/authorize"}
Handler = Callable[[httpx2.Request], httpx2.Response]


def other_provider(answer: Handler, **changes: object) -> httpx2.MockTransport:
    def handle(request: httpx2.Request) -> httpx2.Response:
        if "/.well-known/" in request.url.path:
            return httpx2.Response(200, json={**METADATA, **changes})
        return answer(request)

    return httpx2.MockTransport(handle)


def no_answer(_request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(500)


@pytest.mark.parametrize(
    ("changes", "reference"),
    [
        ({"issuer": IDP + "/"}, "idp-issuer-mismatch"),
        ({"token_endpoint": None}, "idp-document"),
        ({"token_endpoint": "http://idp.example.test/token"}, "idp-insecure"),
        ({}, "token-refused"),
    ],
)
def test_metadata_is_not_believed_blindly(changes: dict[str, object], reference: str) -> None:
    assert refusal(IDP, transport=other_provider(no_answer, **changes)).reference.id == reference


def test_without_a_discovery_document_nothing_goes() -> None:
    assert refusal(IDP, transport=httpx2.MockTransport(lambda _: httpx2.Response(404))).reference.id == "idp-unreachable"


def test_both_well_known_places_are_tried() -> None:
    seen = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.url.path)
        return httpx2.Response(404)

    refusal(f"{IDP}/tenant", transport=httpx2.MockTransport(handle))
    assert seen == ["/tenant/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/tenant"]


@pytest.mark.parametrize(
    "response",
    [
        httpx2.Response(200, json={}),
        httpx2.Response(200, text="<html>"),
        httpx2.Response(302, headers={"location": "https://evil.test/"}),
        httpx2.Response(400, json=["x"]),
        httpx2.Response(400, text="\xff"),
    ],
)
def test_an_answer_without_a_token_is_a_refusal(response: httpx2.Response) -> None:
    assert refusal(IDP, secret=Secret("s3cret"), transport=other_provider(lambda _: response)).reference.id == "token-refused"


def test_a_provider_that_echoes_the_secret_or_escapes_is_tamed() -> None:
    said = {"error": "invalid_client", "error_description": "s3cret-value is wrong \x1b[31m"}
    error = refusal(IDP, secret=Secret("s3cret-value"), transport=other_provider(lambda _: httpx2.Response(401, json=said)))
    assert error.what == f"{IDP} answered invalid_client: *** is wrong ?[31m"


@pytest.mark.parametrize("spoil", [{"state": "other"}, {"iss": "https://evil.test"}, {"iss": ""}, {"state": ""}])
def test_an_authorization_response_to_another_question_is_refused(spoil: dict[str, str]) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        asked = parse_qs(urlsplit(str(request.url)).query)
        sent = {"code": "c", "state": asked["state"][0], "iss": IDP, **spoil}
        query = "&".join(f"{name}={value}" for name, value in sent.items() if value)
        return httpx2.Response(303, headers={"location": f"{asked['redirect_uri'][0]}?{query}"})

    error = refusal(IDP, person="alice", transport=other_provider(answer))
    assert error.reference.id == "token-refused"
    assert "another question" in error.what


@pytest.mark.parametrize(
    "response",
    [
        httpx2.Response(200, text="<form><input name=user><input name=password></form>"),
        httpx2.Response(303, headers={"location": "https://evil.test/?code=x"}),
        httpx2.Response(500, text="oops"),
    ],
)
def test_the_login_page_of_another_provider_is_not_filled_in(response: httpx2.Response) -> None:
    error = refusal(IDP, person="alice", transport=other_provider(lambda _: response))
    assert error.reference.id == "token-refused"
