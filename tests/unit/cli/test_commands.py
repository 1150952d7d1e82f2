"""check, schema, config, completion: each answer and each error."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from scopeward.envoy.node import Listen
from scopeward.errors import ScopewardError
from scopeward.settings import Flags, parse_address, parse_gateway_address, read_settings, url_of

from .conftest import STARTER, Run


def test_check_says_yes(run: Run, policy: Path) -> None:
    ran = run("check")
    assert (ran.status, ran.out, ran.err) == (0, "scopeward.yaml: good (1 API, 1 rule, 1 client)\n", "")
    assert run("check", "-o", "json").json == {"policy": "scopeward.yaml", "ok": True, "errors": 0, "warnings": 0, "diagnostics": []}


def test_check_says_no(run: Run, policy: Path) -> None:
    policy.write_text(STARTER.replace("read.orders:", "orders.read:").replace("    may", "    mai"))
    ran = run("check")
    assert (ran.status, ran.err) == (1, "")
    assert "scopeward.yaml:6:3: error[scope-noun-first]: " in ran.out
    assert "\n  help: Rename it to 'read.orders'.\n" in ran.out
    assert ran.out.splitlines()[-1].startswith("scopeward.yaml: ")
    assert ran.out.splitlines()[-1].endswith(" errors")


def test_check_says_no_in_json(run: Run) -> None:
    Path("other.yaml").write_text("version: 1\nversion: 1\n")
    ran = run("check", "other.yaml", "-o", "json")
    assert (ran.status, ran.err) == (1, "")
    found = ran.json
    assert (found["ok"], found["errors"]) == (False, len(found["diagnostics"]))
    first = next(d for d in found["diagnostics"] if d["reference"] == "policy-duplicate-key")
    assert (first["file"], first["line"], first["column"], first["severity"]) == ("other.yaml", 2, 1, "error")
    assert first["help"]


def test_check_counts_warnings_and_says_yes(run: Run, policy: Path) -> None:
    policy.write_text(STARTER.replace("read.orders", "frobnicate.orders"))
    ran = run("check")
    assert ran.status == 0
    assert ": warning[scope-noun-first]: " in ran.out
    assert ran.out.splitlines()[-1] == "scopeward.yaml: good, 1 warning (1 API, 1 rule, 1 client)"


@pytest.mark.parametrize("path", ["nowhere.yaml", "."])
def test_check_of_what_cannot_be_read(run: Run, path: str) -> None:
    ran = run("check", path)
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("error[policy-unreadable]: ")
    assert run("check", path, "-o", "json").json["error"]["reference"] == "policy-unreadable"


def test_check_takes_the_policy_from_the_environment(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy.rename("elsewhere.yaml")
    monkeypatch.setenv("SCOPEWARD_POLICY", "elsewhere.yaml")
    assert run("check").out.startswith("elsewhere.yaml: good")


def test_schema(run: Run) -> None:
    ran = run("schema")
    assert ran.status == 0
    jsonschema.Draft202012Validator.check_schema(ran.json)
    jsonschema.validate(yaml.safe_load(STARTER), ran.json)


def test_config_defaults(run: Run) -> None:
    found = run("config", "-o", "json").json
    assert found["listen"] == {"value": "127.0.0.1:8080", "source": "default", "name": None}
    assert found["policy"]["value"] == "scopeward.yaml"
    assert found["envoy"]["value"] is None
    assert Path(found["state_dir"]["value"]).name == "scopeward"
    lines = run("config").out.splitlines()
    assert [line.split()[0] for line in lines] == ["listen", "state-dir", "envoy", "policy"]
    assert all(line.endswith("(default)") for line in lines)


def test_config_tells_where_a_value_comes_from(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEWARD_LISTEN", "[::1]:9000")
    monkeypatch.setenv("SCOPEWARD_STATE_DIR", "/env/state")
    monkeypatch.setenv("SCOPEWARD_ENVOY", "")
    found = run("config", "-o", "json", "--state-dir", "/flag/state", "mine.yaml").json
    assert found["listen"] == {"value": "[::1]:9000", "source": "environment", "name": "SCOPEWARD_LISTEN"}
    assert found["state_dir"] == {"value": "/flag/state", "source": "flag", "name": "--state-dir"}
    assert found["envoy"]["source"] == "default"
    assert found["policy"] == {"value": "mine.yaml", "source": "flag", "name": "POLICY"}
    assert "(environment SCOPEWARD_LISTEN)" in run("config").out


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080", "gateway.example:8080", "[::ffff:127.0.0.1]:8080", ":0"])
def test_config_refuses_an_address_off_loopback(run: Run, address: str) -> None:
    ran = run("config", "--listen", address)
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("error[address-not-usable]: ")
    assert run("config", "--listen", address, "-o", "json").json["error"]["reference"] == "address-not-usable"


def test_off_loopback_the_remedy_is_a_tls_proxy() -> None:
    with pytest.raises(ScopewardError) as caught:
        parse_gateway_address("0.0.0.0:8080")
    assert "TLS proxy" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:8080", Listen("127.0.0.1", 8080)),
        ("localhost:1", Listen("127.0.0.1", 1)),
        (":8080", Listen("127.0.0.1", 8080)),
        ("[::1]:65535", Listen("::1", 65535)),
    ],
)
def test_addresses(text: str, listen: Listen) -> None:
    assert parse_gateway_address(text) == listen


@pytest.mark.parametrize(
    "text",
    ["", "8080", "127.0.0.1", "127.0.0.1:", "::1:8080", "[::1]", "[::1:8080", "127.0.0.1:65536", "a b:1", "127.0.0.1:+1", "http://127.0.0.1:1", ":8080\n"],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ScopewardError) as caught:
        parse_address(text)
    assert caught.value.reference.id == "address-not-usable"
    assert "127.0.0.1:8080" in caught.value.remedy


def test_the_url_of_an_address() -> None:
    assert url_of(Listen("::1", 9)) == "http://[::1]:9"
    assert url_of(Listen("127.0.0.1", 9)) == "http://127.0.0.1:9"


def test_a_bad_value_in_the_environment_is_found() -> None:
    with pytest.raises(ScopewardError):
        read_settings(Flags(), {"SCOPEWARD_LISTEN": "nonsense"})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run: Run, shell: str) -> None:
    ran = run("completion", shell)
    assert ran.status == 0
    assert "_SCOPEWARD_COMPLETE" in ran.out
    assert "scopeward" in ran.out


def test_completion_for_another_shell(run: Run) -> None:
    ran = run("completion", "tcsh")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("error[usage]: ")


def test_completing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SCOPEWARD_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "scopeward che")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run().out == "plain,check\n"


def test_the_schema_is_json_in_one_piece(run: Run) -> None:
    assert json.loads(run("schema").out)["$id"].startswith("https://")
