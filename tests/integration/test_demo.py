"""``scopeward demo`` as a newcomer runs it, on a machine where its usual ports are taken."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scopeward.demo.stage import API, GATEWAY, PROVIDER
from scopeward.demo.story import STORY
from scopeward.issuer import default_accounts, obtain_token
from tests.kit.commands import SCOPEWARD, Ran, Running, Shell, call, envoy_pid, is_alive, replace_file

EDITED = "GET /{order_id}/customer: {needs: read.orders, to: [people, claims-copilot]}"

DOCTORED = f"""\
import sys
from dataclasses import replace
import scopeward.demo.tell as tell
tell.STORY = (replace(tell.STORY[1], status=200, reference=None, challenge=""),)
sys.argv[0] = "{SCOPEWARD[-1]}"
from scopeward.__main__ import main
main()
"""


@pytest.fixture(scope="module", autouse=True)
def taken_ports() -> Iterator[None]:
    """The ports that the demo prefers, held by somebody."""
    with contextlib.ExitStack() as held:
        for port in (GATEWAY, PROVIDER, API):
            with contextlib.suppress(OSError):  # somebody else holds it already
                held.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


@dataclass(frozen=True)
class Once:
    """``demo --once`` after its end. ``first`` is when its first line came, in seconds after the start."""

    ran: Ran
    first: float
    state: Path
    left: list[int]


@pytest.fixture(scope="module")
def staying(shell: Shell, folder: Path) -> Iterator[tuple[Running, Path]]:
    """A demo that stays up; it plays while the other one does."""
    with shell.start("demo", "--state-dir", folder / "stays") as running:
        yield running, folder / "stays" / "demo"


@pytest.fixture(scope="module")
def once(folder: Path, staying: tuple[Running, Path]) -> Once:
    del staying  # only that it began earlier
    shell, state = Shell(folder), folder / "once"
    with shell.nothing_left():
        begun = time.monotonic()
        with shell.start("demo", "--once", "--state-dir", state) as running:
            running.says(".+")
            first = time.monotonic() - begun
            ran = running.wait()
            left = shell.processes()
    return Once(ran, first, state, left)


def test_it_goes_to_its_end(once: Once) -> None:
    assert (once.ran.status, once.ran.err) == (0, "")
    assert once.ran.out.splitlines()[-1] == "Every step went as told."
    assert once.first < 60
    assert once.left == []


def test_it_tells_every_step(once: Once) -> None:
    told = re.findall(r"^(\d+)\. (.+)$", once.ran.out, re.MULTILINE)
    assert told == [(str(number), step.title) for number, step in enumerate(STORY, 1)]
    answers = re.findall(r"^   (\d{3}) ", once.ran.out, re.MULTILINE)
    assert answers == [str(step.status) for step in STORY]
    assert once.ran.out.count("\n   why: ") == len(STORY)
    lines = re.findall(r"^   \d\d:\d\d:\d\d\.\d{3}  (allowed|\d{3} [a-z-]+)", once.ran.out, re.MULTILINE)
    assert lines == [step.verdict for step in STORY if step.verdict]


def test_it_takes_other_ports_where_its_own_are_taken(once: Once) -> None:
    urls = set(re.findall(r"http://127\.0\.0\.1:(\d+)", once.ran.out))
    assert len(urls) == 3  # gateway, provider, and the API itself, which one step calls
    assert urls.isdisjoint({str(GATEWAY), str(PROVIDER), str(API)})


def test_no_token_and_no_secret_is_shown_or_kept(once: Once) -> None:
    assert {path.name for path in once.state.rglob("*")} >= {"scopeward.yaml", "envoy.log", "in-force.json", "store.sqlite"}
    kept = texts_of(once.state)
    assert any(path.parent.name == "audit" and text for path, text in kept.items())
    for text in (once.ran.out.encode(), once.ran.err.encode()):
        assert not holds_a_secret(text)
    assert [path for path, text in kept.items() if holds_a_secret(text)] == []


def test_while_it_runs_its_own_passes_are_the_only_tokens_in_its_files(staying: tuple[Running, Path], once: Once) -> None:
    del once  # not while it plays
    running, node = staying
    running.says(r"^Ctrl-C ends it\.$")
    found = [path.parent.name for path, text in texts_of(node).items() if holds_a_secret(text)]
    assert found == ["pass"]
    assert not holds_a_secret(running.out.encode())


def texts_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def holds_a_secret(text: bytes) -> bool:
    """A JWT begins with these letters, being JSON in base64url."""
    secrets = [client.secret.reveal().encode() for client in default_accounts().clients.values() if client.secret]
    assert secrets
    return any(secret in text for secret in (b"eyJ", *secrets))


def test_what_it_keeps_is_private(once: Once) -> None:
    node = once.state / "demo"
    for path in (node, *node.rglob("*")):
        assert not path.stat().st_mode & 0o077 or path.name == "scopeward.yaml", path


def test_a_step_that_goes_wrong_is_an_error(folder: Path, once: Once) -> None:
    del once  # not while it plays
    program = (SCOPEWARD[0], "-c", DOCTORED)
    other = Shell(folder)
    ran = other.run("demo", "--once", "--state-dir", folder / "wrong", program=program)
    assert ran.status == 3
    assert re.fullmatch(r"error\[demo-step-failed\]: 'No token' ended with 401 token-missing\n  help: .+\n", ran.err)
    assert "Every step" not in ran.out
    assert other.processes() == []


def test_it_stays_until_it_is_interrupted(staying: tuple[Running, Path], shell: Shell, once: Once) -> None:
    del once  # what edits here would disturb
    running, node = staying
    running.says(r"^Every step went as told\.$")
    running.says(r"^Ctrl-C ends it\.$")
    command = re.search(r'curl -i (\S+) -H "Authorization: Bearer \$\(scopeward (token get .*claims-copilot.*)\)"$', running.out, re.MULTILINE)
    assert command, running.out
    got = shell.run(*command[2].split())
    assert got.status == 0, got.err
    url, token = f"{command[1]}/customer", got.out.strip()
    assert call(url, token) == (200, None)
    policy = node / "scopeward.yaml"
    so_far = len(running.out)
    assert EDITED in policy.read_text()
    replace_file(policy, policy.read_text().replace(EDITED, "GET /{order_id}/customer: {needs: read.orders, to: people}"))
    running.says(r"^in force: policy ", after=so_far)
    assert call(url, token) == (403, "agent-not-named")
    pid = envoy_pid(node)
    ended = running.interrupt()
    assert (ended.status, ended.err) == (0, "")
    assert not is_alive(pid)
    assert shell.processes() == []


def test_its_tokens_are_of_no_use_elsewhere(once: Once) -> None:
    """Its provider ended with it."""
    issuer = re.search(r"--issuer (\S+)", once.ran.out)
    assert issuer
    with pytest.raises(Exception, match="idp-unreachable"):
        obtain_token(issuer[1], "order-sync")
