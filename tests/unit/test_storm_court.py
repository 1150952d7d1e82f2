"""The storm's judge finds what it is there to find."""

from __future__ import annotations

from pathlib import Path

import pytest

from storm.court import Account, Answer, Court, Law
from storm.fault import Fault
from storm.faults import FAULTS
from storm.report import BEGINS, ENDS, README, Row, section, write
from storm.stage import Stage


def act(_stage: Stage) -> None:
    raise AssertionError


NONE_MAY_FAIL = Fault("a", "a happens", act, "nothing", "")
SOME_MAY_FAIL = Fault("b", "b happens", act, "a cut", "time", may_say=frozenset({"cut"}), longest=2.0)


def court(law: Law) -> Court:
    made = Court()
    made.rule("caller", law, path="/", token="t")
    return made


def answer(said: str, began: float = 0.0, ended: float = 0.1, call: int = 1) -> Answer:
    return Answer(call, said, began, ended)


def judged(law: Law, *answers: Answer) -> Account:
    made = court(law)
    for one in answers:
        made.judge("caller", made.ruling("caller"), one)
    return made.account


def test_a_call_that_must_be_refused_and_passes_is_found() -> None:
    assert judged(Law.REFUSE, answer("401 token-revoked"), answer("200")).let_through == ["caller got 200"]
    assert judged(Law.PASS, answer("200")).let_through == []
    assert judged(Law.EITHER, answer("200")).let_through == []


def test_a_call_that_was_refused_and_reached_the_upstream_is_found() -> None:
    made = court(Law.REFUSE)
    for call in (1, 2):
        made.judge("caller", made.ruling("caller"), answer("cut", call=call))
    made.compare({2, 3})
    assert made.account.let_through == ["caller reached the upstream"]
    made.compare({2})
    assert len(made.account.let_through) == 1


def test_good_calls_that_fail_are_counted_and_for_how_long() -> None:
    account = judged(Law.PASS, answer("200"), answer("cut", 1.0, 1.1), answer("no connection", 1.2, 1.3), answer("200", 1.4, 1.5), answer("200", 9.0, 9.1))
    assert account.failed == {"cut": 1, "no connection": 1}
    assert account.longest == pytest.approx(0.5)
    assert account.calls == 5
    assert judged(Law.EITHER, answer("cut")).lost == judged(Law.REFUSE, answer("cut")).lost == 0


@pytest.mark.parametrize(("before", "after"), [(Law.REFUSE, Law.PASS), (Law.PASS, Law.REFUSE), (Law.PASS, Law.PASS), (Law.REFUSE, Law.EITHER)])
@pytest.mark.parametrize("said", ["200", "cut"])
def test_a_call_under_another_ruling_is_not_judged(before: Law, after: Law, said: str) -> None:
    made = court(before)
    sent = made.ruling("caller")
    made.rule("caller", after)
    made.judge("caller", sent, answer(said))
    assert (made.account.let_through, made.account.lost, made.last("caller")) == ([], 0, said)
    assert made.ruling("caller").token == "t"


def test_an_account_is_of_one_fault() -> None:
    made = court(Law.PASS)
    before = made.account
    made.open()
    made.judge("caller", made.ruling("caller"), answer("cut"))
    assert (before.calls, made.account.lost) == (0, 1)


def test_a_promise_that_is_not_kept_is_told() -> None:
    cut, refused = judged(Law.PASS, answer("cut", 0.0, 1.0)), judged(Law.PASS, answer("401 token-expired"))
    assert Row(NONE_MAY_FAIL).plus(cut).broken == ("good calls failed: 1 x cut",)
    assert Row(SOME_MAY_FAIL).plus(cut).broken == ()
    assert Row(SOME_MAY_FAIL).plus(refused).broken == ("good calls failed: 1 x 401 token-expired",)
    assert Row(SOME_MAY_FAIL).plus(judged(Law.PASS, answer("cut", 0.0, 3.0))).broken == ("good calls failed for 3.0 s, and 2 s are promised",)
    let_through = Row(SOME_MAY_FAIL).plus(judged(Law.REFUSE, answer("200"), answer("200")), ["it said no"])
    assert (let_through.broken, let_through.let_through) == (("it said no", "unauthorized: caller got 200"), 2)


def test_rounds_add_up() -> None:
    row = Row(SOME_MAY_FAIL).plus(judged(Law.PASS, answer("cut", 0.0, 1.5))).plus(judged(Law.PASS, answer("cut", 0.0, 0.5)))
    assert (row.calls, row.lost, row.longest) == (2, 2, 1.5)


def test_the_table_is_put_between_its_marks(tmp_path: Path) -> None:
    row = Row(SOME_MAY_FAIL).plus(judged(Law.PASS, answer("cut", 0.0, 1.5)))
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGINS}old\n{ENDS}\nafter\n")
    write([row, Row(NONE_MAY_FAIL)], readme)
    assert readme.read_text() == f"before\n{BEGINS}{section([row, Row(NONE_MAY_FAIL)])}{ENDS}\nafter\n"
    assert "| b happens | 0 | for under 5 s | a cut | time |\n| a happens | 0 | none | nothing | - |\n" in readme.read_text()
    readme.write_text("no place")
    with pytest.raises(LookupError):
        write([row], readme)


def test_the_readme_tells_of_every_fault() -> None:
    shown = README.read_text(encoding="utf-8").partition(BEGINS)[2].partition(ENDS)[0]
    told = [line.split(" | ")[0].removeprefix("| ") for line in shown.splitlines()[2:]]
    assert told == [fault.title for fault in FAULTS]
    for line in shown.splitlines()[2:]:
        assert line.split(" | ")[1] == "0"


def test_faults_have_names_of_their_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
