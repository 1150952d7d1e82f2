"""check: what it says, counts and ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import STARTER, Run

STRICT = STARTER.replace('audience: "https', 'jti: required, audience: "https')
GOOD = "(1 API, 1 rule, 1 client)"


@pytest.fixture
def strict(policy: Path) -> Path:
    """A policy that there is nothing to say about."""
    assert STRICT != STARTER
    policy.write_text(STRICT)
    return policy


def test_check_says_yes(run: Run, strict: Path) -> None:
    ran = run("check")
    assert (ran.status, ran.out, ran.err) == (0, f"scopeward.yaml: good {GOOD}\n", "")
    assert run("check", "-o", "json").json == {
        "policy": "scopeward.yaml",
        "ok": True,
        "errors": 0,
        "warnings": 0,
        "notes": 0,
        "environments": [],
        "diagnostics": [],
    }


def test_check_says_no(run: Run, strict: Path) -> None:
    strict.write_text(STRICT.replace("read.orders:", "orders.read:").replace("    may", "    mai"))
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
    assert (found["ok"], found["errors"], found["warnings"], found["notes"]) == (False, len(found["diagnostics"]), 0, 0)
    first = next(d for d in found["diagnostics"] if d["reference"] == "policy-duplicate-key")
    assert (first["file"], first["line"], first["column"], first["severity"]) == ("other.yaml", 2, 1, "error")
    assert first["help"]


def test_check_counts_warnings_and_says_yes(run: Run, strict: Path) -> None:
    strict.write_text(STRICT.replace("read.orders", "frobnicate.orders"))
    ran = run("check")
    assert ran.status == 0
    assert ": warning[scope-noun-first]: " in ran.out
    assert ran.out.splitlines()[-1] == f"scopeward.yaml: good, 1 warning {GOOD}"


def test_check_tells_notes_apart_and_says_yes(run: Run, policy: Path) -> None:
    ran = run("check")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("scopeward.yaml:4:3: note[token-id-optional]: tokens of the issuer 'main' without 'jti' are taken")
    assert ran.out.splitlines()[-1] == f"scopeward.yaml: good, 1 note {GOOD}"
    found = run("check", "-o", "json").json
    assert (found["ok"], found["errors"], found["warnings"], found["notes"]) == (True, 0, 0, 1)
    assert [d["severity"] for d in found["diagnostics"]] == ["note"]


def test_check_counts_errors_warnings_and_notes(run: Run, policy: Path) -> None:
    policy.write_text(STARTER.replace("scopes:", "scopes:\n  frobnicate.x: {says: x}\n  orders.read: {says: x}"))
    ran = run("check")
    assert ran.status == 1
    assert ran.out.splitlines()[-1] == "scopeward.yaml: 1 error, 1 warning, 1 note"


def test_a_note_has_a_colour_of_its_own(run: Run, policy: Path) -> None:
    policy.write_text(STARTER.replace("read.orders", "frobnicate.orders"))
    out = run("check", color=True).out
    assert "\x1b[34m\x1b[1mnote\x1b[0m" in out
    assert "\x1b[33m\x1b[1mwarning\x1b[0m" in out


@pytest.mark.parametrize("path", ["nowhere.yaml", "."])
def test_check_of_what_cannot_be_read(run: Run, path: str) -> None:
    ran = run("check", path)
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("error[policy-unreadable]: ")
    assert run("check", path, "-o", "json").json["error"]["reference"] == "policy-unreadable"


def test_check_takes_the_policy_from_the_environment(run: Run, strict: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strict.rename("elsewhere.yaml")
    monkeypatch.setenv("SCOPEWARD_POLICY", "elsewhere.yaml")
    assert run("check").out.startswith("elsewhere.yaml: good")
