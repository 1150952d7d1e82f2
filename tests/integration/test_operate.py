"""What an operator does with a node that runs: look at it, follow its decisions, revoke; and what damaged files do to it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jws

from tests.integration.ground import CLOSED, OPEN, NodeOf, Place, end_by_force, person_token, refusal, run_on, service_token
from tests.kit.commands import Shell, call, is_alive, replace_file, until
from tests.kit.gateway import free_port

SECOND = 1.0
"""In which a revocation is in force, as it is promised."""
REVOKED = (401, "token-revoked")
GOOD = (200, None)


@pytest.fixture(scope="module")
def applied(shell: Shell, folder: Path, text: str) -> Place:
    place = Place(shell, folder / "policy.yaml", folder / "state")
    assert place.apply(text).status == 0
    return place


@pytest.fixture(scope="module")
def ops(applied: Place) -> str:
    del applied
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def node(applied: Place, ops: str) -> Iterator[NodeOf]:
    """One for all tests that leave it as it was."""
    with run_on(applied, "--ops-listen", ops) as running:
        yield running


def claims(token: str) -> dict[str, Any]:
    return dict(json.loads(jws.extract_compact(token.encode()).payload))


# ── status ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def status(place: Place) -> tuple[int, dict[str, Any]]:
    ran = place.command("status", "-o", "json")
    return ran.status, ran.json


def test_status_of_a_node_that_is_well(node: NodeOf, token: str, development_provider: str) -> None:
    before = until(lambda: status(node)[1]["status"], "a status")["calls"]["total"]
    assert node.call(token) == GOOD
    assert node.call() == (401, "token-missing")
    until(lambda: status(node)[1]["status"]["calls"]["total"] >= before + 2, "the calls in the status")
    code, said = status(node)
    assert (code, said["ok"], said["attention"]) == (0, True, [])
    assert (said["warden_lives"], said["envoy_lives"], said["policy_file"]) == (True, True, "same")
    found = said["status"]
    assert (found["warden"]["pid"], found["envoy"]["pid"]) == (node.process.pid, node.envoy_pid)
    assert found["policy"]["confirmed"] is True
    assert found["policy"]["version"] == node.kept("in-force.json")["policy_version"]
    assert [(issuer["name"], issuer["issuer"], len(issuer["key_ids"])) for issuer in found["issuers"]] == [("dev", development_provider, 1)]
    assert abs(found["issuers"][0]["clock_difference"]) < 3
    assert found["calls"]["refusals"]["token-missing"] >= 1
    text = node.command("status")
    assert text.status == 0
    assert text.out.startswith("all is well\n")
    assert f"pid {node.envoy_pid}, up " in text.out
    assert ", confirmed by Envoy\n" in text.out


def test_status_tells_that_the_policys_file_differs(node: NodeOf, text: str) -> None:
    until(lambda: status(node)[1]["status"], "a status")
    applied = node.state / "applied" / "policy.yaml"
    replace_file(applied, "version: 1\n")
    try:
        node.process.says("^not applied; what was in force stays$", err=True)
        code, said = status(node)
        assert (code, said["policy_file"]) == (1, "differs")
        assert f"the file '{applied}' differs from what is in force" in said["attention"][0]["words"]
    finally:
        replace_file(applied, text)
    until(lambda: status(node)[0] == 0, "a node that is well")


def test_status_after_the_warden_was_killed_and_when_nothing_runs(place: Place, text: str) -> None:
    assert place.apply(text).status == 0
    refusal(place.command("status"), "node-not-running", str(place.state))
    with run_on(place) as node:
        until(lambda: status(node)[1]["status"], "a status")
        end_by_force(node)
        code, said = status(node)
        assert (code, said["warden_lives"], said["envoy_lives"]) == (1, False, True)
        assert said["attention"][0]["words"].startswith("the warden has been gone for ")
        ran = node.command("status")
        assert (ran.status, ran.out.splitlines()[0][:27]) == (1, "! the warden has been gone ")
        assert node.call() == (401, "token-missing")
    with run_on(place, port=node.port) as again:
        assert again.process.end().status == 0
    refusal(place.command("status"), "node-not-running", str(place.state))
    refusal(place.shell.run("status", "--state-dir", place.state.parent / "nowhere"), "node-not-running", "nowhere")


# ── logs ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_logs_shows_decisions_and_follows_them(node: NodeOf, token: str) -> None:
    assert node.call(token) == GOOD
    until(lambda: "/orders/42" in node.command("logs", "-n", "5").out, "the call in the log")
    shown = node.command("logs", "-n", "1", "-o", "json").json
    assert (shown["verdict"], shown["reference"], shown["api"]) == ("allowed", None, "orders")
    with node.shell.start("logs", "-f", "-n", "0", "--state-dir", node.state) as logs:
        until(lambda: follows(logs.out, node), "a call that is followed")
        refused = logs.says(r"^\d\d:\d\d:\d\d\.\d{3}  401 token-missing\s.*GET /orders/42")[0]
        assert "allowed" not in refused
        so_far = len(logs.out)
        assert node.call(token) == GOOD
        logs.says(r"^\d\d:\d\d:\d\d\.\d{3}  allowed .*order-sync.*GET /orders/42", after=so_far)
        ended = logs.interrupt()
        assert ended.status == 130
        assert token.split(".")[2] not in ended.out


def follows(said: str, node: NodeOf) -> bool:
    """It takes a moment until the command watches."""
    assert node.call() == (401, "token-missing")
    time.sleep(0.3)
    return "token-missing" in said


def test_logs_where_there_are_none(place: Place) -> None:
    refusal(place.command("logs"), "node-not-running", f"'{place.state}' holds no audit lines")


# ── revoke ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def revoked(node: NodeOf, *words: str) -> Iterator[dict[str, Any]]:
    """A revocation that is in force when the block begins, and undone after it."""
    ran = node.command("revoke", *words, "-o", "json")
    assert ran.status == 0, ran.err
    said = ran.json
    assert said["in_force"] is True
    assert said["after_ms"] < 1000 * SECOND
    try:
        yield said
    finally:
        undone = node.command("revoke", "undo", str(said["number"]), "-o", "json").json
        assert (undone["in_force"], undone["number"]) == (True, said["number"])
        assert undone["after_ms"] < 1000 * SECOND


def test_revoke_a_token_by_its_id(node: NodeOf, development_provider: str) -> None:
    bad, good = service_token(development_provider), service_token(development_provider)
    assert (node.call(bad), node.call(good)) == (GOOD, GOOD)
    said = claims(bad)
    with revoked(node, f"--token-id={said['jti']}", "--reason", "laptop stolen") as entry:
        assert (node.call(bad), node.call(good)) == (REVOKED, GOOD)
        assert (entry["what"], entry["value"], entry["issuer"]) == ("token-id", said["jti"], development_provider)
        listed = node.command("revoke", "list", "-o", "json").json["revocations"]
        assert [(one["number"], one["value"], one["reason"]) for one in listed] == [(entry["number"], said["jti"], "laptop stolen")]
        assert f"token id {said['jti']} of {development_provider}" in node.command("revoke", "list").out
    assert node.call(bad) == GOOD
    assert node.command("revoke", "list").out == "nothing is revoked\n"


def test_a_token_id_is_kept_until_the_expiry_that_the_audit_lines_tell(node: NodeOf, development_provider: str) -> None:
    token = service_token(development_provider)
    said = claims(token)
    assert node.call(token) == GOOD
    audit = node.state / "audit"
    until(lambda: any(said["jti"] in path.read_text() for path in audit.glob("*.jsonl")), "the audit line")
    with revoked(node, f"--token-id={said['jti']}") as entry:
        assert entry["ends_at"] == said["exp"]
        assert node.call(token) == REVOKED


def test_revoke_a_client_and_a_subject(node: NodeOf, development_provider: str) -> None:
    service, alice = service_token(development_provider), person_token(development_provider)
    assert (node.call(service), node.call(alice)) == (GOOD, GOOD)
    with revoked(node, "--client", "order-sync"):
        assert (node.call(service), node.call(alice)) == (REVOKED, GOOD)
        later = until(lambda: issued_later(service, development_provider), "another second")
        assert node.call(later) == GOOD
    with revoked(node, "--subject", claims(alice)["sub"], "--until-undone"):
        assert (node.call(service), node.call(alice)) == (GOOD, REVOKED)
        assert node.call(person_token(development_provider)) == REVOKED
    assert (node.call(service), node.call(alice)) == (GOOD, GOOD)


def issued_later(token: str, issuer: str) -> str | None:
    """A token that was issued in a later second, and not in the one after that of the revocation, which counts as the same."""
    later = service_token(issuer)
    return later if claims(later)["iat"] > claims(token)["iat"] + 2 else None


def test_revoke_all_that_was_issued_before_a_time(node: NodeOf, token: str) -> None:
    before = claims(token)["iat"]
    with revoked(node, "--issuer", "dev", "--issued-before", str(before)):
        assert node.call(token) == GOOD
    with revoked(node, "--issuer", "dev", "--issued-before", str(before + 1)):
        assert node.call(token) == REVOKED
    assert node.call(token) == GOOD


@pytest.mark.parametrize(
    ("words", "reference", "what"),
    [
        ([], "revocation-invalid", "not stated"),
        (["--token-id", "a", "--client", "b"], "revocation-invalid", "more than once"),
        (["--token-id", ""], "revocation-invalid", "token id"),
        (["--token-id", "a\nb"], "revocation-invalid", "token id"),
        (["--issued-before", "tomorrow-ish"], "revocation-invalid", "--issued-before"),
        (["--issuer", "nobody", "--token-id", "a"], "revocation-invalid", "nobody"),
    ],
)
def test_a_revocation_of_nonsense(node: NodeOf, words: list[str], reference: str, what: str, token: str) -> None:
    ran = node.command("revoke", *words)
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith(f"error[{reference}]: ")
    assert what in ran.err
    assert "\n  help: " in ran.err
    assert node.command("revoke", "list").out == "nothing is revoked\n"
    assert node.call(token) == GOOD


def test_an_undoing_of_nothing(node: NodeOf) -> None:
    ran = node.command("revoke", "undo", "999999")
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("error[revocation-unknown]: ")


def test_a_revocation_outlives_the_warden_and_envoy(place: Place, text: str, development_provider: str) -> None:
    """It may be made while nothing runs, too, and while Envoy is alone."""
    assert place.apply(text).status == 0
    first, second, third = (service_token(development_provider) for _ in range(3))
    stored = place.command("revoke", f"--token-id={claims(first)['jti']}", "-o", "json")
    assert (stored.status, stored.json["in_force"]) == (0, False)
    with run_on(place) as node:
        assert [node.call(one) for one in (first, second, third)] == [REVOKED, GOOD, GOOD]
        assert node.command("revoke", f"--token-id={claims(second)['jti']}", "-o", "json").json["in_force"] is True
        end_by_force(node)
        assert [node.call(one) for one in (first, second, third)] == [REVOKED, REVOKED, GOOD]
        assert node.command("revoke", f"--token-id={claims(third)['jti']}", "-o", "json").json["in_force"] is False
        assert node.call(third) == GOOD
    with run_on(place, port=node.port) as again:
        pid = again.envoy_pid
        assert [again.call(one) for one in (first, second, third)] == [REVOKED] * 3
        assert again.kept("in-force.json")["revocations"]
        again.shell.kill(pid)
        until(lambda: not is_alive(pid) and is_up(again), "another Envoy")
        assert [again.call(one) for one in (first, second, third)] == [REVOKED] * 3


def is_up(node: NodeOf) -> bool:
    try:
        return node.call() == (401, "token-missing")
    except httpx2.TransportError:
        return False


# ── the operators' endpoints ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_operators_endpoints(node: NodeOf, ops: str, token: str) -> None:
    def get(path: str) -> httpx2.Response:
        return httpx2.get(f"http://{ops}{path}", trust_env=False)

    assert (get("/livez").status_code, get("/livez").text) == (200, "live\n")
    assert (get("/readyz").status_code, get("/readyz").text) == (200, "ready\n")
    assert node.call(token) == GOOD
    version = node.kept("in-force.json")["policy_version"]
    metrics = until(lambda: found if 'verdict="allowed"' in (found := get("/metrics").text) else None, "the call in the metrics")
    assert f'scopeward_policy_info{{policy_version="{version}"}} 1.0\n' in metrics
    assert "scopeward_envoy_up 1.0\n" in metrics
    assert "scopeward_policy_confirmed 1.0\n" in metrics
    assert get("/").status_code == 404
    assert call(f"{node.origin}/readyz")[0] == 404  # not where callers are


def test_an_ops_port_that_is_taken(place: Place, text: str, ops: str, node: NodeOf) -> None:
    del node
    assert place.apply(text).status == 0
    refusal(place.command("run", "--listen", f":{free_port()}", "--ops-listen", ops), "port-in-use", ops, "Choose another with --ops-listen.")
    assert not (place.state / "run.json").exists()


# ── what files say that are not as they were written ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def kept(place: Place, text: str) -> Place:
    """A state directory on which a node ran."""
    assert place.apply(text).status == 0
    with run_on(place) as node:
        node.process.end()
    return place


def test_a_state_directory_of_another_layout(kept: Place, text: str) -> None:
    (kept.state / "layout.json").write_text('{"layout": 1, "node": "node-1234"}\n')
    for ran in (kept.command("run", "--listen", f":{free_port()}"), kept.apply(text), kept.command("revoke", "list")):
        assert (ran.status, ran.out) == (3, "")
        assert ran.err.startswith(f"error[state-version]: '{kept.state}' has layout 1, this version has 2\n  help: ")
        assert "--state-dir" in ran.err
    (kept.state / "layout.json").write_text('{"layout": 2, "no')
    refusal(kept.command("run", "--listen", f":{free_port()}"), "state-version", "is damaged")


@pytest.mark.parametrize("said", ["", "{", "[]", '{"pid": "1"}', '{"pid": 1, "start_time": 1}'])
def test_a_run_file_that_says_nothing_is_of_no_use(kept: Place, said: str, token: str) -> None:
    (kept.state / "run.json").write_text(said)
    with run_on(kept) as node:
        assert node.call(token) == GOOD


def test_a_run_file_that_names_a_process_of_somebody_else(kept: Place, token: str, shell: Shell) -> None:
    with run_on(kept) as node:
        ours = node.kept("run.json")
        end_by_force(node)
    with shell.start("120", program=("sleep",)) as bystander:
        (kept.state / "run.json").write_text(json.dumps(ours | {"pid": bystander.pid}))
        refusal(kept.command("run", "--listen", f":{node.port}"), "port-in-use", str(node.port))  # whose Envoy it is cannot be known any more
        assert is_alive(bystander.pid)
        with run_on(kept) as again:
            assert again.call(token) == GOOD
            assert again.process.end().status == 0
        assert is_alive(bystander.pid)
    assert node.call(token) == GOOD
    shell.kill(ours["pid"])


@pytest.mark.parametrize("said", ["", "not json", '{"policy_version": 7, "revocations": "many"}'])
def test_a_damaged_in_force_file_is_written_anew(kept: Place, said: str, token: str) -> None:
    with run_on(kept) as node:
        pid = node.envoy_pid
        end_by_force(node)
    (kept.state / "in-force.json").write_text(said)
    with run_on(kept, port=node.port) as again:
        assert again.envoy_pid == pid
        assert again.call(token) == GOOD
        version = again.kept("in-force.json")["policy_version"]
        assert f"serving policy {version}\n" in again.process.out


def test_published_files_that_were_changed_are_not_believed(kept: Place, text: str, token: str) -> None:
    with run_on(kept) as node:
        pid, folder = node.envoy_pid, node.kept("run.json")["incarnation"]
        end_by_force(node)
    routes = kept.state / "envoys" / folder / "xds" / "routes" / "routes.json"
    routes.write_bytes(routes.read_bytes().replace(b"/orders", b"/ordres"))
    with run_on(kept, port=node.port) as again:
        assert "was changed after it was published" in again.process.err
        assert again.envoy_pid != pid
        assert again.call(token) == GOOD
        until(lambda: not is_alive(pid), "the end of the Envoy whose files were changed")


def test_a_store_that_is_none(kept: Place, token: str) -> None:
    """A start without it would let in what was revoked."""
    store = kept.state / "store.sqlite"
    for path in kept.state.glob("store.sqlite-*"):
        path.unlink()
    store.write_bytes(b"garbage" * 1000)
    for words in (("run", "--listen", f":{free_port()}"), ("revoke", "--token-id", "a", "--issuer", "dev"), ("revoke", "list")):
        ran = kept.command(*words)
        assert (ran.status, ran.out) == (3, "")
        assert ran.err.startswith(f"error[state-damaged]: '{store}'")
        assert "put a backup in its place" in ran.err
    assert not (kept.state / "run.json").exists()


def test_a_store_that_is_damaged_under_a_node_stops_nothing(kept: Place, token: str, text: str) -> None:
    with run_on(kept) as node:
        assert node.command("revoke", "--token-id", "of-nobody", "-o", "json").json["in_force"] is True
        store = kept.state / "store.sqlite"
        replace_file(store, "garbage")
        node.process.says(rf"^revocations: .*{store}", err=True)
        assert node.call(token) == GOOD
        assert node.apply(text.replace(OPEN, CLOSED)).status == 0
        assert node.call(token) == (403, "kind-not-allowed")
        until(lambda: any("state-damaged" in finding["words"] for finding in status(node)[1]["attention"]), "the store in the status")
        assert status(node)[0] == 1


def test_keys_on_the_disk_that_were_changed_are_not_believed(kept: Place, token: str) -> None:
    copies = list((kept.state / "keys").glob("*.json"))
    assert len(copies) == 1
    copies[0].write_text("garbage")
    with run_on(kept) as node:  # the provider answers
        assert node.call(token) == GOOD
        assert json.loads(copies[0].read_text())["jwks"]


def test_keys_on_the_disk_serve_where_the_provider_is_away(shell: Shell, folder: Path, place: Place, text: str, development_provider: str) -> None:
    with shell.start("idp", "--listen", ":0", "--state-dir", folder / "other-idp") as provider:
        issuer = provider.says(r"^development identity provider: (\S+)$")[1]
        token = service_token(issuer)
        assert place.apply(text.replace(development_provider, issuer)).status == 0
    with run_on(place) as node:
        assert node.call(token) == GOOD
        code, said = until(lambda: found if (found := status(node))[1]["status"] else None, "a status")
        assert code == 1
        assert any("no keys could be read" in finding["words"] for finding in said["attention"])
    copy = next((place.state / "keys").glob("*.json"))
    copy.write_text(copy.read_text().replace(issuer, f"{issuer}/other"))
    ran = place.command("run", "--listen", f":{free_port()}")
    assert (ran.status, ran.out) == (3, "")
    assert "error[idp-unreachable]: " in ran.err or "error[state-damaged]: " in ran.err
    assert not (place.state / "run.json").exists()


def test_pass_keys_that_were_damaged_are_made_anew_and_somebody_is_told(kept: Place, token: str) -> None:
    keys = kept.state / "passes" / "keys.json"
    keys.write_text("garbage")
    with run_on(kept) as node:
        assert node.call(token) == GOOD
        assert "state-damaged" in node.process.err
        assert json.loads(keys.read_text())["version"] == 1
        code, said = until(lambda: found if (found := status(node))[1]["status"] else None, "a status")
        assert code == 1
        assert any("new keys sign the passes" in finding["words"] for finding in said["attention"])


def test_a_lock_that_another_node_holds(node: NodeOf, token: str) -> None:
    refusal(node.command("run", "--listen", f":{free_port()}"), "node-running", str(node.state))
    refusal(node.shell.run("run", "--listen", f":{node.port}", "--state-dir", node.state), "node-running", str(node.state))
    assert node.call(token) == GOOD


def test_nothing_ends_by_a_signal_that_is_for_nobody(node: NodeOf, token: str) -> None:
    node.process.send(signal.SIGCONT)
    assert node.call(token) == GOOD
