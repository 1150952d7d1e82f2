"""init: what it asks, what it refuses, and that what it writes passes check."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from scopeward.cli import init
from scopeward.cli.answers import Answers
from scopeward.cli.starter import scalar, starter_policy
from scopeward.policy.schema import json_schema
from scopeward.policy.source import Loaded, load
from scopeward.warden import checked

from .conftest import Ran, Run

ISSUER = "https://login.example.test/"
OPTIONS = {
    "issuer": ISSUER,
    "upstream": "https://orders.example.test/v1",
    "at": "/orders/v1",
    "audience": "https://api.example.test",
    "client": "orders-web",
    "kind": "app",
    "scope": "read.orders",
}
KEY = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True).as_dict(private=False)


def words(**changes: str | None) -> list[str]:
    return [word for name, value in {**OPTIONS, **changes}.items() if value is not None for word in ("--" + name.replace("_", "-"), value)]


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the provider answers, by path; tests change it."""
    answers: dict[str, Any] = {
        "/.well-known/openid-configuration": {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}jwks",
            "scopes_supported": ["openid", "orders.write", "urn:x:y", "read.stock", "read.orders"],
        },
        "/jwks": {"keys": [dict(KEY)]},
    }

    def handle(request: httpx2.Request) -> httpx2.Response:
        answer = answers.get(request.url.path)
        return httpx2.Response(404) if answer is None else httpx2.Response(200, json=answer)

    monkeypatch.setattr(init, "http_client", lambda: httpx2.AsyncClient(transport=httpx2.MockTransport(handle)))
    return answers


def refused(ran: Ran, reference: str, status: int = 3) -> None:
    assert (ran.status, ran.out) == (status, "")
    assert ran.err.startswith(f"error[{reference}]: ")
    assert not Path("scopeward.yaml").exists()


@pytest.mark.parametrize("kind", ["app", "service", "agent"])
def test_what_it_writes_passes_check(run: Run, internet: Mapping[str, Any], kind: str) -> None:
    ran = run("init", *words(kind=kind))
    assert ran.status == 0, ran.err
    assert f"found {ISSUER}: 1 signing key (ES256)" in ran.err
    assert run("check").out.endswith("\nscopeward.yaml: good, 1 note (1 API, 1 rule, 1 client)\n")
    text = Path("scopeward.yaml").read_text()
    assert text.splitlines()[0] == "# yaml-language-server: $schema=.scopeward-schema.json"
    schema = json.loads(Path(".scopeward-schema.json").read_text())
    assert schema == json_schema()
    jsonschema.validate(yaml.safe_load(text), schema)


def test_it_says_what_to_do_next(run: Run, internet: Mapping[str, Any]) -> None:
    out = run("init", *words()).out
    assert "\n  scopeward dev\n" in out
    assert '\n  curl -i -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/orders/v1\n' in out
    assert "token get" not in out


def test_with_the_development_provider_it_says_how_to_get_a_token(run: Run, provider: str) -> None:
    ran = run("init", *words(issuer=provider, output="my policy.yaml"))
    assert "\n  scopeward dev 'my policy.yaml'\n" in ran.out
    line = next(line for line in ran.out.splitlines() if "TOKEN=$(" in line)
    got = run(*shlex.split(line.partition("$(scopeward ")[2].removesuffix(")")))
    assert (got.status, got.out.count(".")) == (0, 2)


def test_it_names_the_api_and_the_gateway_as_told(run: Run, internet: Mapping[str, Any]) -> None:
    run("init", *words(name="shop", public_url="https://api.example.test", client="urn:x"))
    loaded = load(Path("scopeward.yaml").read_bytes(), "x")
    assert isinstance(loaded, Loaded)
    assert (loaded.policy.apis[0].name, loaded.policy.public_url) == ("shop", "https://api.example.test")
    assert (loaded.policy.clients[0].name, loaded.policy.clients[0].id) == ("app", "urn:x")


def test_an_agent_is_named_by_its_rule(run: Run, internet: Mapping[str, Any]) -> None:
    run("init", *words(kind="agent", client="copilot"))
    loaded = load(Path("scopeward.yaml").read_bytes(), "x")
    assert isinstance(loaded, Loaded)
    assert loaded.policy.apis[0].rules[0].to.clients == ("copilot",)


def test_nothing_is_overwritten(run: Run, internet: Mapping[str, Any]) -> None:
    Path("scopeward.yaml").write_text("mine")
    ran = run("init", *words())
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("error[exists]: 'scopeward.yaml'")
    assert Path("scopeward.yaml").read_text() == "mine"
    assert not Path(".scopeward-schema.json").exists()
    assert run("init", *words(), "--force").status == 0
    assert run("check").status == 0


def test_a_dangling_link_counts_as_existing(run: Run, internet: Mapping[str, Any]) -> None:
    Path("scopeward.yaml").symlink_to("elsewhere.yaml")
    assert run("init", *words()).err.startswith("error[exists]")
    assert not Path("elsewhere.yaml").exists()


def test_a_directory_that_is_not_there(run: Run, internet: Mapping[str, Any]) -> None:
    refused(run("init", *words(output="nowhere/scopeward.yaml")), "file-unwritable")


@pytest.mark.parametrize("missing", list(OPTIONS))
def test_a_missing_option_is_named(run: Run, missing: str) -> None:
    ran = run("init", *words(**{missing: None}))
    refused(ran, "usage", 2)
    assert f"missing: --{missing}\n" in ran.err


def test_all_missing_options_are_named_at_once(run: Run) -> None:
    assert "--issuer, --upstream, --at, --audience, --client, --kind, --scope" in run("init").err


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "login.example.test"},
        {"issuer": "https://user:hunter2@login.example.test"},
        {"upstream": "orders"},
        {"at": "orders"},
        {"at": "/{id}"},
        {"audience": ""},
        {"client": "a\u0007b"},
        {"kind": "robot"},
        {"scope": "orders.read"},
        {"scope": "read orders"},
        {"name": "a b"},
        {"public_url": "https://api.example.test/x"},
    ],
    ids=str,
)
def test_a_value_that_is_not_possible(run: Run, wrong: dict[str, str]) -> None:
    ran = run("init", *words(**wrong))
    refused(ran, "usage", 2)
    assert "--" + next(iter(wrong)).replace("_", "-") in ran.err
    assert "hunter2" not in ran.err


def test_a_noun_first_scope_is_put_right(run: Run) -> None:
    assert "'read.orders'" in run("init", *words(scope="orders.read")).err


def test_another_issuer_is_refused_with_both(run: Run, internet: Mapping[str, Any]) -> None:
    ran = run("init", *words(issuer=ISSUER.rstrip("/")))
    refused(ran, "idp-issuer-mismatch")
    assert f"'{ISSUER.rstrip('/')}'" in ran.err
    assert f"write it exactly so: {ISSUER}\n" in ran.err


def test_a_provider_without_keys_is_refused(run: Run, internet: dict[str, Any]) -> None:
    internet["/jwks"] = {"keys": [{"kty": "oct", "k": "aHVudGVyMg"}]}
    ran = run("init", *words())
    refused(ran, "idp-no-keys")
    assert "aHVudGVyMg" not in ran.err


def test_a_provider_without_metadata_is_refused(run: Run, internet: dict[str, Any]) -> None:
    del internet["/.well-known/openid-configuration"]
    refused(run("init", *words()), "idp-document")


def test_a_provider_in_clear_text_is_refused(run: Run) -> None:
    refused(run("init", *words(issuer="http://login.example.test")), "idp-insecure")
    refused(run("init", *words(issuer="http://login.example.test"), "--offline"), "idp-insecure")


def test_nobody_answers(run: Run) -> None:
    refused(run("init", *words(issuer="http://127.0.0.1:1")), "idp-unreachable")


def test_offline_nobody_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "http_client", lambda: pytest.fail("asked"))
    assert run("init", *words(), "--offline").status == 0
    assert run("check").status == 0


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "is_terminal", lambda: True)


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_it_asks(run: Run, internet: Mapping[str, Any]) -> None:
    typed = [ISSUER, "not a url", OPTIONS["upstream"], "/orders", "", "orders-web", "", "orders.read", ""]
    ran = run("init", input="\n".join(typed) + "\n")
    assert ran.status == 0, ran.err
    assert "the provider offers orders.write, urn:x:y, read.stock, read.orders" in ran.err
    assert "Scope that its tokens need [read.stock]" in ran.err
    assert "wrote scopeward.yaml" in ran.out
    assert "Issuer" not in ran.out
    loaded = load(Path("scopeward.yaml").read_bytes(), "x")
    assert isinstance(loaded, Loaded)
    (api,) = loaded.policy.apis
    assert (api.name, api.audience, api.rules[0].needs) == ("orders", "http://127.0.0.1:8080/orders", ("read.stock",))


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_it_offers_the_right_spelling(run: Run, internet: Mapping[str, Any]) -> None:
    ran = run("init", *words(issuer=ISSUER.rstrip("/")), input="y\n")
    assert ran.status == 0, ran.err
    assert f"calls itself '{ISSUER}'" in ran.err
    assert f'issuer: "{ISSUER}"' in Path("scopeward.yaml").read_text()


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_the_spelling_may_be_declined(run: Run, internet: Mapping[str, Any]) -> None:
    ran = run("init", *words(issuer=ISSUER.rstrip("/")), input="n\n")
    assert ran.status == 3
    assert "error[idp-issuer-mismatch]" in ran.err
    assert not Path("scopeward.yaml").exists()


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_an_end_of_input_is_quiet(run: Run) -> None:
    ran = run("init", input="")
    assert (ran.status, ran.out) == (130, "")
    assert "Traceback" not in ran.err


@given(st.text(st.characters(blacklist_categories=("C",)), min_size=1))
def test_a_scalar_is_read_back(text: str) -> None:
    assert yaml.safe_load(f"[{scalar(text)}]") == [text]


WORDS = st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=30).filter(lambda text: "${" not in text)


@given(WORDS, WORDS)
def test_no_answer_can_add_to_the_policy(client: str, audience: str) -> None:
    answers = Answers(ISSUER, audience, "https://up.test", client, "service", "read.orders", "/orders", "orders", "http://127.0.0.1:8080", "client_id")
    loaded, _ = checked(starter_policy(answers).encode(), "x")
    assert (loaded.policy.clients[0].id, loaded.policy.apis[0].audience) == (client, audience)
    assert len(loaded.policy.apis[0].rules) == len(loaded.policy.clients) == 1


@pytest.mark.parametrize(
    ("issuer", "client_claim", "person"),
    [
        ("https://acme.okta.com/oauth2/default", "cid", "{claim: uid, present: true}"),
        ("https://login.microsoftonline.com/3f6c/v2.0", "azp", "{claim: scp, present: true}"),
        ("https://idp.test", "client_id", "{claim: idtyp, is: user}"),
    ],
)
def test_the_policy_reads_the_claims_of_the_vendor(issuer: str, client_claim: str, person: str) -> None:
    text = starter_policy(
        Answers(issuer, "api://orders", "https://up.test", "x", "app", "read.orders", "/orders", "orders", "http://127.0.0.1:8080", client_claim)
    )
    assert f"client_claim: {client_claim}  #" in text
    assert f"person: {person}  #" in text
    checked(text.encode(), "x.yaml")
