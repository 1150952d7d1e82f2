"""The whole way with an identity provider of somebody else's: init, check, dev, and tokens of every kind that it issues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.commands import Shell, call, until
from tests.kit.gateway import free_port
from tests.kit.other_provider import ORDERS, PORTAL, PORTAL_AUDIENCE, STOCK, OtherProvider, installed, other_provider
from tests.kit.upstream import RecordingUpstream
from tests.kit.warden import RunningWarden

PERSON_OF_INIT = "person: {claim: idtyp, is: user}"
PERSON = "person: {claim: staff_id, present: true}"
PORTAL_API = """\
  portal: {{at: /portal, audience: {audience}, upstream: "{upstream}", rules: {{GET /: {{needs: read.portal, to: people}}}}}}
"""


@pytest.fixture(scope="session")
def provider(pytestconfig: pytest.Config) -> Iterator[OtherProvider]:
    folder = installed(pytestconfig.cache.mkdir("oidc-provider"))
    with other_provider(folder, "--access-ttl", "120") as running:
        yield running


@pytest.fixture(scope="module")
def gateway_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def policy(provider: OtherProvider, shell: Shell, folder: Path, api: RecordingUpstream, gateway_port: int) -> Path:
    """What ``init`` wrote, with this provider's evidence of a person and its app."""
    words = ["--issuer", provider.issuer, "--upstream", api.url, "--at", "/orders", "--audience", ORDERS]
    words += ["--public-url", f"http://127.0.0.1:{gateway_port}", "--client", "svc-orders", "--kind", "service", "--scope", "read.orders"]
    written = shell.run("init", *words)
    assert written.status == 0, written.err
    assert f"found {provider.issuer}: 1 signing key (RS256)" in written.err
    path = folder / "scopeward.yaml"
    text = path.read_text()
    assert PERSON_OF_INIT in text
    text = text.replace(PERSON_OF_INIT, PERSON)
    text = text.replace("\nclients:", "  read.portal: {says: See the portal}\n\nclients:").replace("\napis:", "  web-app: {kind: app, id: web-app}\n\napis:")
    path.write_text(text + PORTAL_API.format(audience=PORTAL_AUDIENCE, upstream=api.url))
    return path


@pytest.fixture(scope="module")
def gate(shell: Shell, folder: Path, policy: Path, gateway_port: int) -> Iterator[str]:
    checked = shell.run("check")
    assert (checked.status, checked.out.splitlines()[-1]) == (0, "scopeward.yaml: good, 1 note (2 APIs, 2 rules, 2 clients)"), checked
    with shell.start("dev", "--listen", f":{gateway_port}", "--state-dir", folder / "state") as dev:
        dev.says("is in force$")
        dev.says("Ctrl-C ends$")
        yield f"http://127.0.0.1:{gateway_port}"


def test_a_service_with_the_scope_may_call(gate: str, provider: OtherProvider, api: RecordingUpstream) -> None:
    assert call(f"{gate}/orders/42", provider.service("read.orders")) == (200, None)
    seen = api.seen[-1]
    assert seen.all("x-agw-client-id") == ["svc-orders"]
    assert seen.all("authorization") == []


def test_without_a_token_nothing_passes(gate: str) -> None:
    assert call(f"{gate}/orders/42") == (401, "token-missing")


def test_without_the_scope_nothing_passes(gate: str, provider: OtherProvider) -> None:
    assert call(f"{gate}/orders/42", provider.service("create.orders")) == (403, "scope-missing")


def test_a_token_for_another_resource_does_not_pass(gate: str, provider: OtherProvider) -> None:
    assert call(f"{gate}/orders/42", provider.service("read.stock", STOCK)) == (401, "token-audience")


def test_a_person_calls_with_the_access_token_of_a_login_and_not_with_its_id_token(gate: str, provider: OtherProvider, api: RecordingUpstream) -> None:
    alice = provider.sign_in("alice", "read.orders")
    assert call(f"{gate}/orders/42", alice.access) == (200, None)
    seen = api.seen[-1]
    assert (seen.all("x-agw-subject"), seen.all("x-agw-client-id")) == (["alice"], ["web-app"])
    assert call(f"{gate}/orders/42", alice.id) == (401, "token-audience")  # that of an ID token is the app


def test_an_id_token_is_told_apart_where_its_audience_fits(gate: str, provider: OtherProvider) -> None:
    bob = provider.sign_in("bob", "read.portal", PORTAL)
    assert call(f"{gate}/portal", bob.access) == (200, None)
    assert call(f"{gate}/portal", bob.id) == (401, "token-type")


def test_a_key_that_is_shown_before_it_signs_costs_no_call(provider: OtherProvider, policy: Path, folder: Path) -> None:
    with RunningWarden(folder / "polite", policy, keys_every=0.1) as warden:
        url = f"{warden.url}/orders/42"
        old = provider.service("read.orders")
        shown = in_force(warden)
        provider.rotate("publish")
        until(lambda: in_force(warden) != shown, "the key that was shown, in force")
        provider.rotate("promote")
        new = provider.service("read.orders")
        assert [call(url, token) for token in (old, new)] == [(200, None), (200, None)]


def test_keys_that_are_replaced_at_once_make_old_tokens_worthless(provider: OtherProvider, policy: Path, folder: Path) -> None:
    with RunningWarden(folder / "hard", policy, keys_every=0.1) as warden:
        url = f"{warden.url}/orders/42"
        old = provider.service("read.orders")
        assert call(url, old) == (200, None)
        provider.rotate("hard")
        new = provider.service("read.orders")
        until(lambda: call(url, new) == (200, None), "a token of the new key, accepted")
        status, reference = call(url, old)
        assert status == 401
        assert reference in {"token-unknown-key", "token-verification-failed"}


def in_force(warden: RunningWarden) -> str:
    return (warden.folder / "in-force.json").read_text()
