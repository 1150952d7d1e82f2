"""token get: a token on stdout and nothing else; a secret nowhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from scopeward.cli.token import development_secret, read_secret
from scopeward.errors import ScopewardError
from scopeward.secret import Secret

from .conftest import Run

SECRET = "hunter2-hunter2"


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_a_client_of_the_development_accounts(run: Run, provider: str) -> None:
    ran = run("token", "get", "--issuer", provider, "--client", "order-sync", "--scope", "read.orders", "--scope", "create.orders", "--lifetime", "5")
    assert (ran.status, ran.err) == (0, "")
    assert len(ran.out.splitlines()) == 1
    found = claims(ran.out)
    assert (found["client_id"], found["scope"], found["exp"] - found["iat"], found["idtyp"]) == ("order-sync", "read.orders create.orders", 5, "app")


def test_for_a_person(run: Run, provider: str) -> None:
    ran = run("token", "get", "--issuer", provider, "--client", "orders-web", "--for", "alice", "--resource", "https://other.example.test")
    assert (claims(ran.out)["sub"], claims(ran.out)["aud"]) == ("alice", "https://other.example.test")


def test_in_json(run: Run, provider: str) -> None:
    found = run("token", "get", "--issuer", provider, "--client", "orders-web", "--for", "alice", "--lifetime", "2m", "-o", "json").json
    assert sorted(found) == ["access_token", "expires_in", "scope", "token_type"]
    assert (found["expires_in"], found["token_type"]) == (120, "Bearer")


def test_a_secret_of_the_callers_own(run: Run, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_SECRET", "dev-order-sync")
    Path("secret").write_text("dev-order-sync\n")
    for source in ("env:SYNC_SECRET", "file:secret"):
        ran = run("token", "get", "--issuer", provider, "--client", "order-sync", "--secret-from", source)
        assert ran.status == 0
        assert "dev-order-sync" not in ran.out + ran.err


def test_a_wrong_secret_is_refused_and_not_shown(run: Run, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_SECRET", SECRET)
    for form in ("text", "json"):
        ran = run("token", "get", "--issuer", provider, "--client", "order-sync", "--secret-from", "env:SYNC_SECRET", "-o", form)
        assert ran.status == 3
        assert "token-refused" in ran.out + ran.err
        assert SECRET not in ran.out + ran.err


def test_errors_of_the_provider(run: Run, provider: str) -> None:
    get = ("token", "get", "--client", "order-sync", "--issuer")
    assert "error[idp-unreachable]" in run(*get, "http://127.0.0.1:1").err
    assert "error[idp-insecure]" in run(*get, "http://login.example.test").err
    assert "error[idp-issuer-mismatch]" in run(*get, provider + "/").err
    assert "error[token-refused]" in run(*get, provider, "--scope", "read.nothing").err
    assert run(*get, provider, "--scope", "read.nothing", "-o", "json").json["error"]["reference"] == "token-refused"


def test_there_is_no_option_for_a_secret_itself(run: Run) -> None:
    for words in (["--secret", SECRET], [f"--secret={SECRET}"], ["--client-secret", SECRET]):
        ran = run("token", "get", "--issuer", "http://127.0.0.1:1", "--client", "x", *words)
        assert ran.status == 2
        assert SECRET not in ran.out + ran.err


@pytest.mark.parametrize("source", [SECRET, "env:", "file:", "", f"vault:{SECRET}", f":{SECRET}"])
def test_a_secret_written_in_place_of_its_source_is_not_shown(run: Run, source: str) -> None:
    with pytest.raises(ScopewardError) as caught:
        read_secret(source)
    assert caught.value.reference.id == "usage"
    assert SECRET not in str(caught.value) + caught.value.remedy


def test_sources_without_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    Path("empty").write_text("\n")
    Path("binary").write_bytes(b"\xff\xfe" + SECRET.encode())
    Path("large").write_text(SECRET * 10_000)
    for source in ("env:NOT_SET", "env:EMPTY", "file:nowhere", "file:empty", "file:.", "file:binary", "file:large"):
        with pytest.raises(ScopewardError) as caught:
            read_secret(source)
        assert caught.value.reference.id == "usage"
        assert SECRET not in str(caught.value)


def test_a_secret_loses_one_line_end() -> None:
    Path("secret").write_bytes(b" a b \r\n")
    assert read_secret("file:secret") == Secret(" a b ")


@pytest.mark.parametrize("issuer", ["https://login.example.test", "http://127.0.0.1.example.test", "nonsense", "https://10.0.0.1"])
def test_development_secrets_go_to_loopback_only(issuer: str) -> None:
    assert development_secret(issuer, "order-sync") is None
    assert development_secret("http://127.0.0.1:9000", "order-sync") == Secret("dev-order-sync")
    assert development_secret("http://127.0.0.1:9000", "orders-web") is None
    assert development_secret("http://127.0.0.1:9000", "unknown") is None


def test_usage(run: Run) -> None:
    assert run("token", "get", "--client", "x").status == 2
    assert run("token", "get", "--issuer", "http://127.0.0.1:1", "--client", "x", "--lifetime", "soon").status == 2
