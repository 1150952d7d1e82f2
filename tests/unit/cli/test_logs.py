"""scopeward logs: decisions for people and programs, whatever callers put into them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scopeward.audit_line import FIELDS
from scopeward.cli import logs
from scopeward.compile.envoy.names import PROBE
from scopeward.envoy.state_dir import StateDir

from .conftest import Run

EXAMPLE: dict[str, Any] = dict.fromkeys(FIELDS) | json.loads((Path(__file__).parents[3] / "docs/examples/audit-line.json").read_text())
REFUSED = {"decision": "scope-missing", "reference": "scope-missing", "status": 403}


def line(number: int = 0, **changes: Any) -> bytes:
    """As Envoy writes it. ``number`` is in the path."""
    return json.dumps(EXAMPLE | {"path": f"/orders/{number}"} | changes, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    folder = tmp_path / "state" / "audit"
    folder.mkdir(parents=True)
    return folder / "20261124T073600Z-a1b2c3.jsonl"


def paths(text: str) -> list[int]:
    return [int(part.partition("/orders/")[2].split()[0]) for part in text.splitlines() if "/orders/" in part]


def show(run: Run, audit: Path, *words: str, color: bool = False) -> Any:
    return run("logs", "--state-dir", str(audit.parents[1]), *words, color=color)


def test_the_last_decisions_in_their_order(run: Run, audit: Path) -> None:
    audit.with_name("20261123T073600Z-000000.jsonl").write_bytes(b"".join(line(n) for n in range(5)))
    audit.write_bytes(b"".join(line(n) for n in range(5, 25)))
    assert paths(show(run, audit).out) == list(range(5, 25))
    assert paths(show(run, audit, "-n", "22").out) == list(range(3, 25))
    assert paths(show(run, audit, "-n", "0").out) == []


def test_what_a_line_says(run: Run, audit: Path) -> None:
    audit.write_bytes(line(1) + line(2, **REFUSED) + line(3, time="2026-11-25T00:00:00.000Z"))
    day, first, second, next_day, third = show(run, audit).out.splitlines()
    assert (day, next_day) == ("2026-11-24 (UTC)", "2026-11-25 (UTC)")
    assert first.split("  ")[0] == "09:41:04.308"
    assert first.split() == ["09:41:04.308", "allowed", "agent", "claims-copilot", "←", "person", "alice", "GET", "/orders/1", "rule.4e0dc6c1c0c6"]
    assert second.split()[1:3] == ["403", "scope-missing"]
    assert third.startswith("00:00:00.000")


def test_only_what_is_asked_for(run: Run, audit: Path) -> None:
    stock = {"route": "403c7d2d85d8 stock GET /orders/{id}"}
    audit.write_bytes(line(1) + line(2, **REFUSED) + line(3, **stock) + line(4, **REFUSED, **stock) + line(5) * 30)
    assert paths(show(run, audit, "--refused").out) == [2, 4]
    assert paths(show(run, audit, "--api", "stock").out) == [3, 4]
    assert paths(show(run, audit, "--api", "stock", "--refused").out) == [4]
    assert paths(show(run, audit, "--refused", "-n", "1").out) == [4]
    assert show(run, audit, "--api", "nothing").out == ""


def test_the_gateways_calls_to_itself_are_shown_when_asked_for(run: Run, audit: Path) -> None:
    audit.write_bytes(line(1) + line(path=PROBE, **REFUSED))
    assert PROBE not in show(run, audit).out
    assert PROBE in show(run, audit, "--probes").out


@pytest.mark.parametrize("hostile", ["/\x1b[2J\x1b]0;x\x07", "/a\n2026-11-24 allowed", "/\r\x08\u202e\u2028\u0085", "/\x00"])
def test_what_callers_wrote_does_not_act_on_the_terminal(run: Run, audit: Path, hostile: str) -> None:
    audit.write_bytes(line(path=hostile, method=hostile, sub=hostile, **REFUSED))
    out = show(run, audit).out
    assert len(out.splitlines()) == 2
    assert all(c.isprintable() or c == "\n" for c in out)
    as_json = show(run, audit, "-o", "json").out
    assert as_json.isascii()
    assert json.loads(as_json)["path"] == hostile


def test_lines_that_cannot_be_read_are_shown_and_counted(run: Run, audit: Path) -> None:
    audit.write_bytes(line(1) + b"\x1b[2Jnonsense\n" + line(2) + b"\xff\xfe\n" + line(3, time=None) + line(4)[:20])
    ran = show(run, audit)
    assert ran.status == 0
    assert [text for text in ran.out.splitlines() if "orders" not in text] == ["2026-11-24 (UTC)", "unreadable line", "unreadable line", "unreadable line"]
    assert ran.err == "3 lines could not be read\n"
    assert show(run, audit, "--refused").err == "3 lines could not be read\n"
    assert show(run, audit, "--api", "orders").err == ""
    assert json.loads(show(run, audit, "-o", "json").out.splitlines()[1]) == {"unreadable": True}


def test_in_json_a_line_is_what_it_means(run: Run, audit: Path) -> None:
    audit.write_bytes(line(1) + line(2, **REFUSED, who=None))
    first, second = map(json.loads, show(run, audit, "-o", "json").out.splitlines())
    assert (first["verdict"], first["api"], first["rule"], first["reference"]) == ("allowed", "orders", "rule.4e0dc6c1c0c6", None)
    assert [(actor["kind"], actor["subject"] or actor["client"]) for actor in first["chain"]] == [("agent", "claims-copilot"), ("person", "alice")]
    assert (second["verdict"], second["reference"], second["chain"]) == ("refused", "scope-missing", [])


def test_colour_tells_refusals(run: Run, audit: Path) -> None:
    audit.write_bytes(line(1) + line(2, **REFUSED))
    assert "\x1b" not in show(run, audit).out
    _, allowed, refused = show(run, audit, color=True).out.splitlines()
    assert ("\x1b" in allowed, refused.startswith("\x1b[31m")) == (False, True)


def following(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    """What happens in each pause of -f; after the last one Ctrl-C."""
    left = list(steps)

    def pause(_seconds: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    monkeypatch.setattr(logs.time, "sleep", pause)


def test_it_follows_across_starts_of_envoy_until_ctrl_c(run: Run, audit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit.write_bytes(line(1) + line(2) + line(3)[:30])
    later = audit.with_name("20261125T073600Z-000000.jsonl")
    following(
        monkeypatch,
        lambda: audit.write_bytes(audit.read_bytes() + line(3)[30:]),
        lambda: later.write_bytes(line(4) + line(5, **REFUSED)),
        audit.unlink,
        lambda: later.write_bytes(line(6)),
    )
    ran = show(run, audit, "-f", "-n", "1")
    assert (ran.status, paths(ran.out)) == (130, [2, 3, 4, 5, 6])


def test_it_follows_what_is_asked_for_and_counts_what_cannot_be_read(run: Run, audit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    following(monkeypatch, lambda: audit.write_bytes(line(1) + b"x\n" + line(2, **REFUSED)))
    ran = show(run, audit, "--follow", "--refused")
    assert (ran.status, paths(ran.out), ran.err.strip()) == (130, [2], "1 line could not be read")


def test_where_nothing_was_written(run: Run, tmp_path: Path) -> None:
    for words in ((), ("-f",)):
        ran = run("logs", "--state-dir", str(tmp_path / "nowhere"), *words)
        assert (ran.status, "error[node-not-running]" in ran.err, "holds no audit lines" in ran.err) == (3, True, True)
    assert not (tmp_path / "nowhere").exists()
    dev = StateDir(tmp_path / "state" / "dev")
    dev.lock()
    assert f"--state-dir {dev.root}" in run("logs", "--state-dir", str(tmp_path / "state")).err
    dev.unlock()


def test_usage(run: Run, audit: Path) -> None:
    assert show(run, audit, "-n", "-1").status == 2
    assert show(run, audit, "-o", "yaml").status == 2
