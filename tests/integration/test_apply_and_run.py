"""``apply`` and ``run``: a policy that is put in force, and every way in which it is not."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ground import CLOSED, OPEN, WRONG, NodeOf, Place, json_refusal, refusal, run_on
from tests.kit.commands import Shell, call, is_alive, until
from tests.kit.gateway import envoy, free_port


@pytest.fixture(scope="module")
def node(shell: Shell, folder: Path, text: str) -> Iterator[NodeOf]:
    place, port = Place(shell, folder / "policy.yaml", folder / "state"), free_port()
    applied = place.apply(text)
    assert applied.status == 0, applied.err
    assert re.fullmatch(r"policy [0-9a-f]{12} is applied; no node runs here: 'scopeward run' serves it\n", applied.out)
    with run_on(place, port=port) as running:
        assert running.process.out.startswith(f"serving {applied.out[:19]}\n")
        yield running


def test_a_node_takes_what_is_applied_before_apply_ends(node: NodeOf, text: str, token: str) -> None:
    assert call(node.url, token) == (200, None)
    closed = node.apply(text.replace(OPEN, CLOSED))
    assert closed.status == 0, closed.err
    assert re.fullmatch(r"policy [0-9a-f]{12} is in force, confirmed by Envoy\n", closed.out)
    assert call(node.url, token) == (403, "kind-not-allowed")
    opened = node.apply(text, "-o", "json")
    assert opened.status == 0
    assert opened.json["confirmed"] is True
    assert call(node.url, token) == (200, None)
    commented = node.apply("# the same in other words\n" + text, "-o", "json")
    assert (commented.status, commented.json["policy_version"]) == (0, opened.json["policy_version"])


def test_a_wrong_policy_is_refused_and_changes_nothing(node: NodeOf, text: str, token: str) -> None:
    before = (node.state / "applied" / "policy.yaml").read_bytes(), (node.state / "in-force.json").read_bytes()
    refused = node.apply(text.replace(OPEN, WRONG))
    assert (refused.status, refused.out) == (3, "")
    line = text[: text.index(OPEN)].count("\n") + 1
    assert re.match(rf"{re.escape(str(node.policy))}:{line}:\d+: error\[[a-z-]+\]: .*raed\.orders.*\n  help: .+\n", refused.err), refused.err
    again = node.apply(text.replace(OPEN, WRONG), "-o", "json")
    assert (again.status, again.err) == (3, "")
    assert [d["line"] for d in again.json["error"]["diagnostics"]] == [line]
    assert before == ((node.state / "applied" / "policy.yaml").read_bytes(), (node.state / "in-force.json").read_bytes())
    assert call(node.url, token) == (200, None)


def test_apply_waits_for_a_node_that_starts(place: Place, text: str, token: str) -> None:
    """What an earlier node confirmed counts for nothing."""
    slow, go = place.policy.parent / "slow-envoy", place.policy.parent / "go"
    slow.write_text(f'#!/bin/sh\n[ "$1" != -c ] || while [ ! -e {go} ]; do sleep 0.02; done\nexec {envoy().path} "$@"\n')
    slow.chmod(0o755)
    version = place.apply(text, "-o", "json").json["policy_version"]
    (place.state / "in-force.json").write_text(json.dumps({"policy_version": version, "snapshot": "of yesterday", "confirmed_at": 1.0}))
    assert place.apply(text.replace(OPEN, CLOSED)).status == 0
    port = free_port()
    with place.shell.start("run", "--listen", f":{port}", "--state-dir", place.state, "--envoy", slow) as process:
        until((place.state / "run.json").exists, "the start of Envoy")
        place.policy.write_text(text)
        with place.shell.start("apply", place.policy, "--state-dir", place.state) as applying:
            until(lambda: (place.state / "applied" / "policy.yaml").read_text() == text, "the policy in its place")
            go.touch()
            applied = applying.wait()
        assert (applied.status, applied.out) == (0, f"policy {version} is in force, confirmed by Envoy\n")
        assert call(f"http://127.0.0.1:{port}/orders", token) == (200, None)
        assert f"in force: policy {version}\n" in process.out


def test_two_nodes_cannot_share_a_state_directory(node: NodeOf) -> None:
    refused = node.shell.run("run", "--listen", f":{free_port()}", "--state-dir", node.state)
    refusal(refused, "node-running", str(node.state))
    assert call(node.url) == (401, "token-missing")


def test_two_nodes_cannot_share_a_port(node: NodeOf, place: Place, text: str) -> None:
    assert place.apply(text).status == 0
    refusal(place.shell.run("run", "--listen", f":{node.port}", "--state-dir", place.state), "port-in-use", f"127.0.0.1:{node.port}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refusal(place.shell.run("dev", place.policy, "--listen", f":{port}", "--state-dir", place.state), "port-in-use", f"127.0.0.1:{port}")


def test_run_needs_an_applied_policy(place: Place) -> None:
    refusal(place.shell.run("run", "--listen", f":{free_port()}", "--state-dir", place.state), "not-applied", str(place.state))


def test_an_applied_policy_is_told_to_programs(place: Place, text: str) -> None:
    applied = place.apply(text, "-o", "json")
    assert (applied.status, applied.err) == (0, "")
    assert set(applied.json) == {"policy", "environment", "policy_version", "confirmed"}
    assert applied.json["confirmed"] is False
    assert (place.state / "applied" / "policy.yaml").read_text() == text


def test_an_envoy_that_is_not_there(place: Place, text: str) -> None:
    nowhere = place.policy.parent / "no-envoy"
    refusal(place.apply(text, "--envoy", str(nowhere)), "envoy-missing", f"'{nowhere}'")
    json_refusal(place.apply(text, "--envoy", str(nowhere), "-o", "json"), "envoy-missing", f"'{nowhere}'")
    refusal(place.shell.run("dev", place.policy, "--envoy", nowhere, "--state-dir", place.state, "--listen", f":{free_port()}"), "envoy-missing", "no-envoy")
    assert not (place.state / "applied" / "policy.yaml").exists()


@pytest.mark.parametrize(
    ("says", "what"),
    [
        ("echo envoy  version: 0123456789abcdef/1.39.2/Clean/RELEASE/BoringSSL", "is Envoy 1.39.2"),
        ("echo envoy  version: 0123456789abcdef/1.41.0/Clean/RELEASE/BoringSSL", "is Envoy 1.41.0"),
        ("echo nginx version: nginx/1.26.0", "does not say that it is Envoy"),
        ("exit 1", "does not say that it is Envoy"),
    ],
)
def test_an_envoy_of_an_untested_version(place: Place, text: str, says: str, what: str) -> None:
    binary = place.policy.parent / "envoy"
    binary.write_text(f"#!/bin/sh\n{says}\n")
    binary.chmod(0o755)
    tested = "Use Envoy 1.40.0 up to and without 1.41.0." if "is Envoy" in what else None
    refused = place.apply(text, "--envoy", str(binary))
    if what.startswith("is"):
        refusal(refused, "envoy-version", what, tested)
    else:
        refusal(refused, "envoy-version", what)


def test_a_file_that_is_not_executable_is_no_envoy(place: Place, text: str) -> None:
    binary = place.policy.parent / "envoy"
    binary.write_text("")
    refusal(place.apply(text, "--envoy", str(binary)), "envoy-version", "cannot be run")


def test_a_state_directory_that_cannot_be_one(place: Place, text: str) -> None:
    place.state.write_text("a file in its place")
    refusal(place.apply(text), "state-unwritable", str(place.state))
    json_refusal(place.apply(text, "-o", "json"), "state-unwritable", str(place.state))


def test_a_state_directory_that_cannot_be_written(place: Place, text: str) -> None:
    place.state.parent.chmod(0o500)
    try:
        if os.access(place.state.parent, os.W_OK):
            pytest.skip("nothing is unwritable for root")
        refusal(place.shell.run("apply", place.policy, "--state-dir", place.state), "state-unwritable", str(place.state))
    finally:
        place.state.parent.chmod(0o700)


def test_a_provider_that_does_not_answer(place: Place, text: str, development_provider: str) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    asked = text.replace(development_provider, nobody)
    refusal(place.apply(asked), "idp-unreachable", f"'{nobody}/.well-known/openid-configuration': connection refused")
    json_refusal(place.apply(asked, "-o", "json"), "idp-unreachable", nobody)
    refusal(place.shell.run("dev", place.policy, "--state-dir", place.state, "--listen", f":{free_port()}"), "idp-unreachable", nobody)
    assert not (place.state / "applied" / "policy.yaml").exists()


def test_a_node_that_ended_leaves_its_policy_to_the_next(place: Place, text: str, token: str) -> None:
    assert place.apply(text).status == 0
    for _ in range(2):
        with run_on(place) as node:
            assert node.call(token) == (200, None)
            pid = node.envoy_pid
            assert is_alive(pid)
            ended = node.process.end()
            assert (ended.status, ended.err) == (0, f"Envoy {pid} is started\n")
            assert not is_alive(pid)
