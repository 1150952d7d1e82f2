"""revoke, revoke list, revoke undo: what is kept, what is said, and what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scopeward.analysis.gateway import Revocation
from scopeward.audit_line import FIELDS, VERSION
from scopeward.cli import revoke
from scopeward.envoy.state_dir import APPLIED, IN_FORCE, StateDir
from scopeward.revocation import Keeper, RevocationBook
from scopeward.status.file import STATUS
from scopeward.store import STORE_FILE, Store

from .conftest import STARTER, Run

ISS = "https://login.example.test"
NOW = 1_800_000_000.25
SECOND = "2027-01-15T08:00:01Z"
"""The end of the second that has begun."""


class Clock:
    def now(self) -> float:
        return NOW


@pytest.fixture(autouse=True)
def in_a_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEWARD_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(revoke, "SystemClock", Clock)


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


@pytest.fixture
def applied(state: StateDir) -> None:
    state.write(APPLIED, STARTER.replace("id: web", "id: 0oa1"))


def standing(root: Path = Path("state")) -> tuple[Revocation, ...]:
    with Store(root / STORE_FILE, Clock()) as store:
        return RevocationBook(store, Clock()).standing()


def refused(run: Run, *words: str) -> dict[str, Any]:
    ran = run("revoke", *words)
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("error[")
    error = run("revoke", *words, "-o", "json").json["error"]
    assert isinstance(error, dict)
    return error


@contextmanager
def node(state: StateDir, confirms: bool = True) -> Iterator[None]:
    """A node as far as the command sees it: the lock, and the file that says what is in force."""
    other = StateDir(state.root)
    other.lock()
    ends = threading.Event()

    def follow() -> None:
        with Store(state.root / STORE_FILE, Clock()) as store:
            keeper = Keeper(RevocationBook(store, Clock()), Clock())
            while not ends.wait(0.005):
                if tables := keeper.look():
                    other.write_json(IN_FORCE, {"policy_version": "p", "revocations": tables.sequence if confirms else tables.sequence - 1})

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join(10)
        other.unlock()


# ── what is kept ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "kept", "said"),
    [
        (("--token-id", "J"), Revocation(ISS, "token-id", "J"), f"token id J of {ISS}, until it is undone"),
        (("--subject", "alice"), Revocation(ISS, "subject", "alice", 1_800_000_001), f"tokens of subject alice of {ISS} issued before {SECOND}"),
        (("--subject", "alice", "--until-undone"), Revocation(ISS, "subject", "alice"), f"tokens of subject alice of {ISS}, later ones too"),
        (
            ("--client", "web"),
            Revocation(ISS, "client", "0oa1", 1_800_000_001),
            f"tokens of client 0oa1 of {ISS} issued before {SECOND} ('web' is a client's name in the policy)",
        ),
        (
            ("--client", "0oa1"),
            Revocation(ISS, "client", "0oa1", 1_800_000_001),
            f"tokens of client 0oa1 of {ISS} issued before {SECOND} (taken as a client id)",
        ),
        (
            ("--client", "web", "--until-undone"),
            Revocation(ISS, "client", "0oa1"),
            f"tokens of client 0oa1 of {ISS}, later ones too ('web' is a client's name in the policy)",
        ),
        (("--issued-before", "now"), Revocation(ISS, "issuer", before=1_800_000_001), f"tokens of {ISS} issued before {SECOND}"),
        (("--issued-before", "1h"), Revocation(ISS, "issuer", before=1_799_996_401), f"tokens of {ISS} issued before 2027-01-15T07:00:01Z"),
        (
            ("--issuer", "main", "--issued-before", "2027-01-15T08:00:00Z"),
            Revocation(ISS, "issuer", before=1_800_000_000),
            f"tokens of {ISS} issued before 2027-01-15T08:00:00Z",
        ),
        (
            ("--token-id", "J", "--issuer", ISS, "--expires", "1800000600"),
            Revocation(ISS, "token-id", "J"),
            f"token id J of {ISS}, until it expires at 2027-01-15T08:10:00Z",
        ),
    ],
)
@pytest.mark.usefixtures("applied")
def test_each_kind(run: Run, words: tuple[str, ...], kept: Revocation, said: str) -> None:
    ran = run("revoke", *words)
    assert (ran.status, ran.out, ran.err) == (0, f"revoked (number 1): {said}; stored; in force when the node starts\n", "")
    assert standing() == (kept,)


@pytest.mark.usefixtures("applied")
def test_in_json(run: Run) -> None:
    found = run("revoke", "--token-id", "J", "--expires", "1800000600", "--reason", "laptop stolen", "-o", "json").json
    assert found == {
        "number": 1,
        "issuer": ISS,
        "what": "token-id",
        "value": "J",
        "before": None,
        "ends_at": 1_800_000_600,
        "reason": "laptop stolen",
        "made_at": NOW,
        "undone_at": None,
        "in_force": False,
        "after_ms": None,
    }


def test_without_a_policy_the_issuer_is_needed(run: Run) -> None:
    assert run("revoke", "--token-id", "J", "--issuer", ISS).status == 0
    assert standing() == (Revocation(ISS, "token-id", "J"),)
    for words in ((), ("--issuer", "main")):
        error = refused(run, "--token-id", "J", *words)
        assert error["reference"] == "revocation-invalid"
        assert "no policy in force" in error["what"]


def test_a_policy_that_cannot_be_read_is_none(run: Run, state: StateDir) -> None:
    state.write(APPLIED, "version: 1\nnonsense\n")
    assert "no policy in force" in refused(run, "--token-id", "J")["what"]
    assert run("revoke", "--token-id", "J", "--issuer", ISS).status == 0


def test_what_a_running_node_says_of_itself_names_the_issuer(run: Run, state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = type("Issuer", (), {"name": "main", "issuer": ISS})
    monkeypatch.setattr(revoke, "read_status", lambda root: type("Status", (), {"issuers": (issuer,)}) if root == state.root else None)
    assert refused(run, "--token-id", "J")["reference"] == "revocation-invalid"  # of a node that ended
    with node(state):
        assert run("revoke", "--token-id", "J").status == 0
    assert standing() == (Revocation(ISS, "token-id", "J"),)


def test_a_damaged_status_names_nobody(run: Run, state: StateDir) -> None:
    (state.root / STATUS).write_text("{")
    with node(state):
        assert refused(run, "--token-id", "J")["reference"] == "revocation-invalid"


@pytest.mark.usefixtures("applied")
def test_the_exp_comes_from_the_audit_lines(run: Run, state: StateDir) -> None:
    line = dict.fromkeys(FIELDS) | {"v": VERSION, "node": "n", "time": "t", "status": 200, "ms": 1, "who": "app web main |*|", "jti": "J", "exp": "1800000600"}
    (state.root / "audit" / "one.jsonl").write_text(json.dumps(line) + "\n")
    assert run("revoke", "--token-id", "J", "-o", "json").json["ends_at"] == 1_800_000_600
    assert run("revoke", "--token-id", "J", "--until-undone", "-o", "json").json["ends_at"] is None
    assert run("revoke", "--token-id", "K", "-o", "json").json["ends_at"] is None
    assert run("revoke", "--token-id", "J", "--expires", "1800000900", "-o", "json").json["ends_at"] == 1_800_000_900


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--reason", "none"),
        ("--token-id", "J", "--client", "web"),
        ("--subject", "a", "--issued-before", "now"),
        ("--token-id", ""),
        ("--token-id", " J"),
        ("--token-id", "J\n"),
        ("--token-id", "J" * 1025),
        ("--client", ""),
        ("--subject", "a\x1b[2J"),
        ("--subject", "\udcff"),
        ("--token-id", "J", "--reason", ""),
        ("--token-id", "J", "--reason", "two\nlines"),
        ("--token-id", "J", "--issuer", ""),
        ("--token-id", "J", "--issuer", f"{ISS}/"),
        ("--client", "web", "--issuer", "other"),
        ("--issued-before", ""),
        ("--issued-before", "soon"),
        ("--issued-before", "1800000000000"),
        ("--issued-before", "2027-01-17T08:00:00Z"),
        ("--token-id", "J", "--expires", "5m"),
        ("--token-id", "J", "--expires", "now"),
        ("--token-id", "J", "--expires", "2099-01-01T00:00:00Z"),
        ("--token-id", "J", "--expires", "2027-01-15T06:59:59Z"),
    ],
)
@pytest.mark.usefixtures("applied")
def test_nonsense(run: Run, words: tuple[str, ...]) -> None:
    error = refused(run, *words)
    assert error["reference"] == "revocation-invalid"
    assert "\x1b" not in error["what"]
    assert standing() == ()


@pytest.mark.parametrize(
    "words",
    [
        ("--client", "web", "--expires", "1800000600"),
        ("--token-id", "J", "--expires", "1800000600", "--until-undone"),
        ("--issued-before", "now", "--until-undone"),
        ("--jti", "J"),
        ("lst",),
        ("undo",),
        ("undo", "one"),
        ("--client", "web", "list"),
        ("--until-undone", "undo", "1"),
        ("-o", "json", "list"),
        ("web",),
    ],
)
@pytest.mark.usefixtures("applied")
def test_words_that_do_not_fit(run: Run, words: tuple[str, ...]) -> None:
    ran = run("revoke", *words)
    assert ran.status == 2
    assert "usage" in ran.out + ran.err
    assert standing() == ()


def test_nonsense_makes_no_state_directory(run: Run) -> None:
    assert run("revoke").status == 3
    assert not Path("state").exists()


def test_a_damaged_store(run: Run, state: StateDir) -> None:
    path = state.root / STORE_FILE
    path.write_text("nonsense")
    path.chmod(0o600)
    assert refused(run, "list")["reference"] == "state-damaged"
    assert refused(run, "--token-id", "J", "--issuer", ISS)["reference"] == "state-damaged"


# ── in force ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("applied")
def test_with_a_node_it_waits_until_it_is_in_force(run: Run, state: StateDir) -> None:
    with node(state):
        ran = run("revoke", "--token-id", "J")
        assert ran.status == 0
        assert ran.out.startswith(f"revoked (number 1): token id J of {ISS}, until it is undone; in force after ")
        found = run("revoke", "--subject", "alice", "-o", "json").json
        assert (found["number"], found["in_force"], type(found["after_ms"])) == (2, True, int)
        ran = run("revoke", "undo", "1")
        assert ran.out.startswith(f"undone (number 1): token id J of {ISS}, until it is undone; in force after ")
        assert run("revoke", "undo", "2", "-o", "json").json["in_force"] is True


@pytest.mark.parametrize("said", [None, {}, {"revocations": None}, {"revocations": 0}, {"revocations": True}, {"revocations": "9999999999999999"}])
@pytest.mark.usefixtures("applied")
def test_a_node_that_does_not_confirm(run: Run, state: StateDir, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any] | None) -> None:
    monkeypatch.setattr(revoke, "PATIENCE", 0.05)
    if said is not None:
        state.write_json(IN_FORCE, said)
    other = StateDir(state.root)
    other.lock()
    ran = run("revoke", "--token-id", "J")
    other.unlock()
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("error[revocation-not-confirmed]: revocation 1 is stored, and the running node did not confirm")
    assert standing() == (Revocation(ISS, "token-id", "J"),)


@pytest.mark.usefixtures("applied")
def test_a_node_that_confirmed_an_earlier_change_only(run: Run, state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revoke, "PATIENCE", 0.2)
    with node(state, confirms=False):
        assert refused(run, "--token-id", "J")["reference"] == "revocation-not-confirmed"


def test_a_development_nodes_directory_is_pointed_at(run: Run, state: StateDir, tmp_path: Path) -> None:
    development = StateDir(state.root / "dev")
    development.lock()
    ran = run("revoke", "--token-id", "J", "--issuer", ISS)
    assert f"note: the node that runs in '{development.root}'" in ran.err
    development.unlock()
    assert run("revoke", "undo", "1").err == ""


# ── list and undo ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def three(run: Run, applied: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run("revoke", "--token-id", "J", "--expires", "1800000000", "--reason", "stolen")
    run("revoke", "--client", "web")
    run("revoke", "--subject", "alice")
    run("revoke", "undo", "2")
    later = NOW + 2 * 3600
    monkeypatch.setattr(Clock, "now", lambda _self: later)


@pytest.mark.usefixtures("three")
def test_listing(run: Run) -> None:
    made = "2027-01-15T08:00:01Z"
    assert run("revoke", "list").out == f"     3  {made}  tokens of subject alice of {ISS} issued before {SECOND}\n"
    assert run("revoke", "list", "--all").out.splitlines() == [
        f"     1  {made}  token id J of {ISS}, until it expires at 2027-01-15T08:00:00Z; reason: stolen; over: the token expired",
        f"     2  {made}  tokens of client 0oa1 of {ISS} issued before {SECOND}; undone at {made}",
        f"     3  {made}  tokens of subject alice of {ISS} issued before {SECOND}",
    ]


@pytest.mark.usefixtures("three")
def test_listing_in_json(run: Run) -> None:
    assert [entry["number"] for entry in run("revoke", "list", "-o", "json").json["revocations"]] == [3]
    found = run("revoke", "list", "--all", "-o", "json").json["revocations"]
    assert [(entry["number"], entry["what"], entry["undone_at"]) for entry in found] == [(1, "token-id", None), (2, "client", NOW), (3, "subject", None)]


def test_listing_nothing(run: Run) -> None:
    assert run("revoke", "list").out == "nothing is revoked\n"
    assert run("revoke", "list", "-o", "json").json == {"revocations": []}


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("number", ["2", "4", "0", "99999999999999999999"])
def test_undoing_what_is_not_there(run: Run, number: str) -> None:
    assert refused(run, "undo", number)["reference"] == "revocation-unknown"


@pytest.mark.parametrize("before", [True, False])
def test_the_state_directory_may_stand_before_the_subcommand(run: Run, tmp_path: Path, before: bool) -> None:
    elsewhere = ("--state-dir", str(tmp_path / "elsewhere"))
    run("revoke", "--token-id", "J", "--issuer", ISS, *elsewhere)
    for words in (("list",), ("undo", "1")):
        ran = run("revoke", *elsewhere, *words) if before else run("revoke", *words, *elsewhere)
        assert ran.status == 0
        assert f"token id J of {ISS}" in ran.out
    assert standing(tmp_path / "elsewhere") == ()
    assert not Path("state").exists()


def test_what_a_token_said_does_nothing_to_a_terminal(run: Run) -> None:
    ran = run("revoke", "--subject", "a\u202eb", "--issuer", ISS)
    assert "\u202e" not in ran.out
    assert "\u202e" not in run("revoke", "list").out
