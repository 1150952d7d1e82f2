"""``scopeward dev cert``, beside ``scopeward dev [POLICY]``."""

from __future__ import annotations

import shlex
import stat
import time
from pathlib import Path

import pytest

from scopeward.tls.material import read_authorities, read_pair

from .conftest import Run


def test_the_files(run: Run) -> None:
    ran = run("dev", "cert")
    assert (ran.status, ran.err) == (0, "")
    assert sorted(path.name for path in Path().iterdir()) == ["ca.pem", "cert.pem", "key.pem"]
    assert stat.S_IMODE(Path("key.pem").stat().st_mode) == 0o600
    assert read_authorities(Path("ca.pem"))
    assert "PRIVATE" not in ran.out
    assert "localhost, 127.0.0.1, ::1" in ran.out


def test_what_it_tells_to_run_is_taken(run: Run) -> None:
    ran = run("dev", "cert", "--output-dir", "my certificates")
    line = next(line for line in ran.out.splitlines() if "scopeward dev " in line)
    assert shlex.split(line) == ["scopeward", "dev", "--tls-cert", "my certificates/cert.pem", "--tls-key", "my certificates/key.pem"]
    assert "curl --cacert 'my certificates/ca.pem' https://localhost:8080/" in ran.out
    assert run("config", *shlex.split(line)[2:], "-o", "json").json["tls_cert"]["value"] == "my certificates/cert.pem"
    refused = run(*shlex.split(line)[1:])
    assert refused.err.startswith("error[policy-unreadable]: 'scopeward.yaml'"), "up to the policy, all of it is good"


@pytest.mark.parametrize(
    ("host", "dev", "curl"),
    [
        ("gateway.test", "scopeward dev --tls-cert", "ca.pem --resolve gateway.test:8080:127.0.0.1 https://gateway.test:8080/"),
        ("192.0.2.10", "scopeward dev --listen 192.0.2.10:8080 --tls-cert", "ca.pem https://192.0.2.10:8080/"),
        ("::1", "scopeward dev --listen [::1]:8080 --tls-cert", "ca.pem https://[::1]:8080/"),
    ],
)
def test_another_host(run: Run, host: str, dev: str, curl: str) -> None:
    out = run("dev", "cert", host).out
    assert dev in out
    assert curl in out


def test_nothing_is_replaced_without_force(run: Run) -> None:
    run("dev", "cert")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    ran = run("dev", "cert")
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("error[exists]: 'ca.pem' exists")
    for path in (Path("ca.pem"), Path("cert.pem")):
        path.unlink()
    assert "'key.pem' exists" in run("dev", "cert").err
    Path("key.pem").unlink()
    Path("key.pem").symlink_to("nowhere")
    assert "'key.pem' exists" in run("dev", "cert").err
    assert run("dev", "cert", "--force").status == 0
    assert all(path.read_bytes() != text for path, text in before.items())


def test_force_does_not_write_through_links_nor_keep_a_wide_mode(run: Run) -> None:
    Path("elsewhere").write_text("mine")
    for name in ("ca.pem", "key.pem"):
        Path(name).symlink_to("elsewhere")
    Path("cert.pem").write_text("old")
    assert run("dev", "cert", "--force").status == 0
    assert Path("elsewhere").read_text() == "mine"
    assert stat.S_IMODE(Path("key.pem").stat().st_mode) == 0o600


def test_where_it_cannot_write(run: Run) -> None:
    Path("file").write_text("")
    ran = run("dev", "cert", "--output-dir", "file")
    assert ran.err.startswith("error[file-unwritable]: ")


@pytest.mark.parametrize("host", ["http://localhost", "a b", "localhost:8080"])
def test_what_is_no_host(run: Run, host: str) -> None:
    ran = run("dev", "cert", host)
    assert ran.err.startswith("error[address-not-usable]: ")
    assert not list(Path().iterdir())


def test_a_pair_is_good_now(run: Run) -> None:
    run("dev", "cert", "localhost")
    assert read_pair(Path("cert.pem"), Path("key.pem"), time.time())


def test_settings_that_contradict_do_not_keep_it_from_making_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEWARD_TLS_CERT", "cert.pem")
    assert run("dev", "cert").status == 0


def test_dev_takes_a_policy_as_before(run: Run) -> None:
    for words in (["gone.yaml"], ["gone.yaml", "--listen", ":8081"], ["--listen", ":8081", "gone.yaml"]):
        assert run("dev", *words).err.startswith("error[policy-unreadable]: 'gone.yaml'"), words
    assert run("dev").err.startswith("error[policy-unreadable]: 'scopeward.yaml'")
    assert run("dev", "./cert").err.startswith("error[policy-unreadable]: 'cert'")
    assert run("dev", "a.yaml", "b.yaml").err.startswith("error[usage]: Got unexpected extra argument (b.yaml)")
    assert "scopeward dev cert --help" in run("dev", "cert", "--nonsense").err
    assert not Path("state").exists()


def test_completing_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SCOPEWARD_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "scopeward dev cert --outp")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert run().out == "plain,--output-dir\n"
