"""The two processes of a node, each ended in every way: what goes on, who takes over, and what is left."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx2
import pytest

from scopeward import app
from scopeward.warden import Warden
from tests.integration.ground import CLOSED, OPEN, NodeOf, Place, end_by_force, refusal, run_on
from tests.integration.load import Load
from tests.kit.commands import Shell, call, is_alive, is_refused, until
from tests.kit.gateway import free_port
from tests.kit.upstream import RecordingUpstream


@pytest.fixture(scope="module")
def applied(shell: Shell, folder: Path, text: str) -> Place:
    """A place for all tests of this file, one after the other; none leaves a node on it."""
    place = Place(shell, folder / "policy.yaml", folder / "state")
    assert place.apply(text).status == 0
    return place


@pytest.fixture
def site(applied: Place, text: str) -> Iterator[Place]:
    yield applied
    if (applied.state / "run.json").exists():  # a test that failed
        applied.shell.kill(applied.kept("run.json")["pid"])
    (applied.state / "applied" / "policy.yaml").write_text(text)


def test_envoy_answers_on_where_the_warden_is_killed_and_the_next_one_takes_it_over(site: Place, text: str, token: str) -> None:
    port = free_port()
    load = Load(port, "/orders/42", token)
    with run_on(site, port=port) as node, load.running():
        pid = node.envoy_pid
        load.goes_on()
        end_by_force(node)
        load.goes_on()
        closed = site.apply(text.replace(OPEN, CLOSED))
        assert closed.status == 0
        assert "applied, and not in force: the warden is gone" in closed.out
        assert call(node.url, token) == (200, None)  # nobody is there who would put it in force
    assert set(load.answers) == {200}, load.answers
    with run_on(site, port=port) as node:
        assert f"Envoy {pid} is taken over\n" in node.process.err
        assert node.envoy_pid == pid
        assert node.call(token) == (403, "kind-not-allowed")
        assert node.apply(text).status == 0
        assert node.call(token) == (200, None)
        assert node.process.end().status == 0
    assert not is_alive(pid)


def test_a_hangup_leaves_envoy_and_no_call_is_lost_between_two_wardens(site: Place, token: str) -> None:
    port = free_port()
    load = Load(port, "/orders/42", token)
    with run_on(site, port=port) as first, load.running():
        pid = first.envoy_pid
        ended = first.process.end(signal.SIGHUP)
        assert (ended.status, ended.err) == (0, f"Envoy {pid} is started\n")
        load.goes_on()
        with run_on(site, port=port) as second:
            assert second.envoy_pid == pid
            load.goes_on()
            assert second.process.end(signal.SIGHUP).status == 0
        load.goes_on()
    assert set(load.answers) == {200}, load.answers
    with run_on(site, port=port) as last:
        assert last.envoy_pid == pid
    assert not is_alive(pid)


def test_other_settings_replace_envoy(site: Place, token: str) -> None:
    with run_on(site) as first:
        pid = first.envoy_pid
        assert first.process.end(signal.SIGHUP).status == 0
    with run_on(site) as second:
        assert second.port != first.port
        assert second.envoy_pid != pid
        assert second.call(token) == (200, None)
        until(lambda: not is_alive(pid), "the end of the Envoy that was replaced")
        assert is_refused(first.url)
        assert second.call(token) == (200, None)


def test_a_term_signal_lets_calls_end_and_takes_no_more(site: Place, text: str, token: str, api: RecordingUpstream) -> None:
    with RecordingUpstream(delay=7.0) as slow:
        assert site.apply(text.replace(api.url, slow.url)).status == 0
        with run_on(site) as node:
            pid, answers = node.envoy_pid, list[tuple[int, str | None]]()
            caller = threading.Thread(target=lambda: answers.append(node.call(token)))
            caller.start()
            until(lambda: slow.seen, "the call at the upstream")
            node.process.send(signal.SIGTERM)
            until(lambda: is_refused(node.url), "the end of listening", 7.0)
            assert answers == []
            caller.join(10)
            assert answers == [(200, None)]
            assert node.process.wait().status == 0
            assert not is_alive(pid)
    assert not (site.state / "run.json").exists()


def test_another_envoy_comes_where_one_is_killed(site: Place, token: str) -> None:
    with run_on(site) as node:
        pids = [node.envoy_pid]
        for _ in range(2):
            node.shell.kill(pids[-1])
            until(lambda: answers(node, token), "calls again", 5.0)
            pids.append(node.envoy_pid)
        assert len(set(pids)) == 3
        ended = node.process.end()
        assert ended.status == 0
        assert ended.err.count("Envoy ended by itself; it is started again\n") == 2
    assert not any(map(is_alive, pids))


def answers(node: NodeOf, token: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return node.call(token) == (200, None)
    return False


def test_a_node_of_which_both_were_killed_starts_again(site: Place, token: str) -> None:
    with run_on(site) as node:
        pid = node.envoy_pid
        end_by_force(node)
        node.shell.kill(pid)
        until(lambda: not is_alive(pid), "the end of Envoy")
    with run_on(site, port=node.port) as again:
        assert again.call(token) == (200, None)
        assert again.envoy_pid != pid


def test_an_envoy_without_a_warden_keeps_its_port_from_others(site: Place, place: Place, text: str) -> None:
    assert place.apply(text).status == 0
    with run_on(site) as node:
        end_by_force(node)
        refusal(place.command("run", "--listen", f":{node.port}"), "port-in-use", str(node.port))
        assert node.call() == (401, "token-missing")
    with run_on(site, port=node.port):
        pass


def test_what_fails_at_a_start_leaves_the_envoy_that_runs(site: Place, text: str, token: str) -> None:
    with run_on(site) as node:
        pid = node.envoy_pid
        end_by_force(node)
    (site.state / "applied" / "policy.yaml").write_text(text.replace("version: 1", "version: 7"))
    failed = site.command("run", "--listen", f":{node.port}")
    assert (failed.status, failed.out) == (3, "")
    assert node.call(token) == (200, None)
    assert node.envoy_pid == pid
    (site.state / "applied" / "policy.yaml").write_text(text)
    with run_on(site, port=node.port) as again:
        assert again.envoy_pid == pid


def test_a_task_that_misses_its_cancellation_keeps_no_node_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that waits by ``asyncio.wait_for`` does, now and then, before Python 3.12."""
    missed: list[int] = []

    async def deaf_once(_warden: Warden) -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if missed:
                    raise
                missed.append(1)

    async def main() -> None:
        keeping = asyncio.ensure_future(app.keep(cast("Warden", None)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        keeping.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(keeping, return_exceptions=True)

    monkeypatch.setattr(app, "TASKS", (deaf_once,))
    monkeypatch.setattr(app, "CANCEL_AGAIN_AFTER", 0.01)
    asyncio.run(main())
    assert missed == [1]
