"""The README's five minutes with the development provider: every command a process of its own."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from scopeward.issuer import default_accounts, obtain_token
from tests.kit.commands import Running, Shell, call, envoy_pid, is_alive, replace_file, until
from tests.kit.gateway import free_port
from tests.kit.upstream import RecordingUpstream
from tests.kit.warden import RunningWarden

RULE = "GET /**: {needs: read.orders}"


@dataclass(frozen=True)
class Dev:
    """A running ``scopeward dev``."""

    process: Running
    url: str
    policy: Path
    state: Path

    def edit(self, text: str, answer: str, *, err: bool = False) -> str:
        """Replace the policy's text and wait until ``dev`` says something that fits ``answer``; what it said."""
        so_far = len(self.process.err if err else self.process.out)
        replace_file(self.policy, text)
        return self.process.says(answer, err=err, after=so_far)[0]

    def in_force(self) -> str:
        return str(json.loads((self.state / "in-force.json").read_text())["policy_version"])


@contextmanager
def dev_running(shell: Shell, policy: Path, port: int | None = None) -> Iterator[Dev]:
    port, state = port or free_port(), policy.parent / "state"
    with shell.start("dev", policy, "--listen", f":{port}", "--state-dir", state) as process:
        process.says(r"^policy [0-9a-f]{12} is in force$")
        process.says(r"Ctrl-C ends$")
        yield Dev(process, f"http://127.0.0.1:{port}/orders", policy, state / "dev")


@pytest.fixture(scope="module")
def policy(shell: Shell, folder: Path, development_provider: str, api: RecordingUpstream) -> Path:
    words = ["--upstream", api.url, "--at", "/orders", "--audience", "api://orders", "--client", "orders-web", "--kind", "app", "--scope", "read.orders"]
    written = shell.run("init", "--issuer", development_provider, *words)
    assert written.status == 0, written.err
    assert "scopeward dev\n" in written.out
    checked = shell.run("check")
    assert (checked.status, checked.out.splitlines()[-1]) == (0, "scopeward.yaml: good, 1 note (1 API, 1 rule, 1 client)"), checked
    assert "note[token-id-optional]" in checked.out
    text = (folder / "scopeward.yaml").read_text()
    assert RULE in text
    return folder / "scopeward.yaml"


@pytest.fixture(scope="module")
def text(policy: Path) -> str:
    """What the policy holds before and after each test."""
    return policy.read_text()


@pytest.fixture
def own_policy(tmp_path: Path, text: str) -> Path:
    """The same policy for a test that runs a node of its own."""
    path = tmp_path / "scopeward.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def one_dev(shell: Shell, policy: Path) -> Iterator[Dev]:
    with dev_running(shell, policy) as running:
        yield running


@pytest.fixture
def dev(one_dev: Dev, text: str) -> Iterator[Dev]:
    """One for all tests of this file, which finds its policy as it was."""
    yield one_dev
    if one_dev.policy.read_text() != text:
        one_dev.edit(text, r"^in force: policy ")


@pytest.fixture(scope="module")
def alice(shell: Shell, development_provider: str) -> str:
    words = ["--issuer", development_provider, "--client", "orders-web", "--for", "alice", "--scope", "read.orders", "--resource", "api://orders"]
    got = shell.run("token", "get", *words)
    assert (got.status, got.err) == (0, "")
    return got.out.strip()


def test_five_minutes(dev: Dev, alice: str, api: RecordingUpstream) -> None:
    assert call(dev.url) == (401, "token-missing")
    assert call(dev.url, alice) == (200, None)
    seen = api.seen[-1]
    assert (seen.all("x-agw-client-id"), seen.all("x-agw-subject"), seen.all("authorization")) == (["orders-web"], ["alice"], [])


def test_an_edit_decides_the_next_call(dev: Dev, text: str, alice: str) -> None:
    before = dev.in_force()
    said = dev.edit(text.replace(RULE, "GET /**: {needs: read.orders, to: services}"), r"^in force: policy ([0-9a-f]{12})$")
    assert said == f"in force: policy {dev.in_force()}"
    assert dev.in_force() != before
    assert call(dev.url, alice) == (403, "kind-not-allowed")
    dev.edit(text, rf"^in force: policy {before}$")
    assert call(dev.url, alice) == (200, None)


def test_an_edit_with_errors_changes_nothing_and_says_where(dev: Dev, text: str, alice: str) -> None:
    before = dev.in_force()
    line = next(number for number, line in enumerate(text.splitlines(), 1) if RULE in line)
    column = text.splitlines()[line - 1].index("read.orders") + 1
    dev.edit(text.replace(RULE, "GET /**: {needs: raed.orders}"), r"^not applied; what was in force stays$", err=True)
    said = dev.process.says(rf"^scopeward\.yaml:{line}:{column}: error\[[a-z-]+\]: .*raed\.orders.*\n  help: .+$", err=True)
    assert said
    assert dev.in_force() == before
    assert call(dev.url, alice) == (200, None)


def test_a_policy_that_is_gone_for_a_moment_changes_nothing(dev: Dev, text: str, alice: str) -> None:
    so_far = len(dev.process.err)
    dev.policy.unlink()
    dev.process.says(r"^error\[policy-unreadable\]: .+\n  help: .+$", err=True, after=so_far)
    assert call(dev.url, alice) == (200, None)
    dev.edit(text.replace(RULE, "GET /**: {needs: read.orders, to: services}"), r"^in force: policy ")
    assert dev.process.err.count("error[policy-unreadable]") == 1


def test_envoy_outlives_a_dev_that_is_killed_and_the_next_one_takes_it_over(shell: Shell, own_policy: Path) -> None:
    port = free_port()
    with dev_running(shell, own_policy, port) as dev:
        first = envoy_pid(dev.state)
        assert dev.process.end(signal.SIGKILL).status == -signal.SIGKILL
        assert call(dev.url) == (401, "token-missing")
    with dev_running(shell, own_policy, port) as dev:
        assert envoy_pid(dev.state) == first
        assert call(dev.url) == (401, "token-missing")
        ended = dev.process.end(signal.SIGTERM)
        assert ended.status == 0
        assert ended.err.splitlines()[0] == f"Envoy {first} is taken over"
        assert not is_alive(first)


def test_dev_starts_another_envoy_where_one_ends(shell: Shell, own_policy: Path) -> None:
    deep = own_policy.parent / ("deep" * 20)  # too long for a unix socket's path, so that one is made elsewhere
    deep.mkdir()
    with dev_running(shell, own_policy.rename(deep / own_policy.name)) as dev:
        first, elsewhere = envoy_pid(dev.state), admin_folder(dev.state)
        assert not elsewhere.is_relative_to(deep)
        assert elsewhere.is_dir()
        shell.kill(first)
        dev.process.says(r"^Envoy ended by itself", err=True)
        until(lambda: is_up(dev.url), "another Envoy")
        assert envoy_pid(dev.state) != first
        assert not elsewhere.exists()
        elsewhere = admin_folder(dev.state)
        assert dev.process.end().status == 0
        assert not elsewhere.exists()


def admin_folder(state: Path) -> Path:
    return Path(json.loads((state / "run.json").read_text())["admin"]).parent


def is_up(url: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return call(url) == (401, "token-missing")
    return False


def test_tokens_of_a_new_key_pass_once_the_keys_were_looked_at(shell: Shell, folder: Path, own_policy: Path, development_provider: str) -> None:
    with RunningWarden(own_policy.parent / "state", own_policy, keys_every=0.1) as warden:
        url = f"{warden.url}/orders"
        old = token(development_provider)
        assert call(url, old) == (200, None)
        rotated = shell.run("idp", "rotate", "--mode", "hard", "--state-dir", folder / "idp-state")
        assert rotated.status == 0
        new = token(development_provider)
        until(lambda: call(url, new) == (200, None), "a token of the new key, accepted")
        assert call(url, old) in {(401, "token-unknown-key"), (401, "token-verification-failed")}


def token(issuer: str) -> str:
    secret = default_accounts().clients["orders-web"].secret
    answer = obtain_token(issuer, "orders-web", secret=secret, person="alice", scopes=["read.orders"], resource="api://orders")
    return answer.access_token.reveal()
