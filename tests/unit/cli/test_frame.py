"""How commands end: statuses, streams, forms, interruptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from scopeward.cli.frame import Frame, Place, asks_json
from scopeward.cli.output import say
from scopeward.errors import ScopewardError
from scopeward.warden import PolicyError, checked

from .conftest import Run


class Fails(Frame):
    """One command, which ends with an exception."""

    def __init__(self, failure: BaseException) -> None:
        super().__init__("scopeward", [Place("fail", "It fails.")])
        self._failure = failure

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        @click.command("fail")
        @click.option("-o")
        def fail(o: str | None) -> None:
            raise self._failure

        return fail


def failing(failure: BaseException, *args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(Fails(failure), ["fail", *args])
    return result.exit_code, result.stdout, result.stderr


def test_an_error_is_three_and_goes_to_stderr() -> None:
    assert failing(ScopewardError("port-in-use", "127.0.0.1:80", "Stop it.")) == (3, "", "error[port-in-use]: 127.0.0.1:80\n  help: Stop it.\n")


def test_an_error_in_json_goes_to_stdout() -> None:
    status, out, err = failing(ScopewardError("port-in-use", "127.0.0.1:80", "Stop it."), "-o", "json")
    assert (status, err) == (3, "")
    assert json.loads(out) == {"error": {"reference": "port-in-use", "what": "127.0.0.1:80", "remedy": "Stop it."}}


def test_what_others_wrote_cannot_act_upon_the_terminal() -> None:
    _, _, err = failing(ScopewardError("idp-document", "a\u001b[2J\u202eb\nc", "x\u0007"))
    assert err == "error[idp-document]: a?[2J?b\nc\n  help: x?\n"


def test_a_refused_policy_shows_all_that_is_wrong() -> None:
    with pytest.raises(PolicyError) as caught:
        checked(b"version: 2\nfoo: 1\n", "p.yaml")
    status, out, err = failing(caught.value)
    assert (status, out) == (3, "")
    assert "p.yaml:1:10: error[policy-value]: " in err
    assert "p.yaml:2:1: error[policy-unknown-key]: " in err
    _, out, _ = failing(caught.value, "-o", "json")
    assert len(json.loads(out)["error"]["diagnostics"]) > 2


def test_an_interrupt_is_quiet() -> None:
    assert failing(KeyboardInterrupt()) == (130, "", "\n")
    assert failing(click.Abort()) == (130, "", "")


def test_usage_is_two_in_both_forms(run: Run) -> None:
    ran = run("check", "--bogus")
    assert (ran.status, ran.out, ran.err) == (2, "", "error[usage]: No such option '--bogus'.\n  help: See 'scopeward check --help'.\n")
    ran = run("check", "--bogus", "-o", "json")
    assert (ran.status, ran.err) == (2, "")
    assert ran.json["error"]["reference"] == "usage"
    assert run("chek").status == 2


@pytest.mark.parametrize("words", [["-o", "json"], ["-ojson"], ["--format", "json"], ["--format=json"], ["a", "-o", "json", "b"]])
def test_asking_json(words: list[str]) -> None:
    assert asks_json(words)


@pytest.mark.parametrize("words", [[], ["-o"], ["-o", "text"], ["json"], ["--output", "json"], ["json", "-o"]])
def test_not_asking_json(words: list[str]) -> None:
    assert not asks_json(words)


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    for words in ("schema", "--help"):
        read, write = os.pipe()
        os.close(read)
        ran = subprocess.run([sys.executable, "-m", "scopeward", words], stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
        os.close(write)
        assert (ran.returncode, ran.stderr) == (141, "")


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)])
def test_colour(variables: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    @click.command()
    def show() -> None:
        say(click.style("x", fg="red"))

    assert ("\u001b[" in CliRunner().invoke(show, color=True).stdout) is coloured
    assert CliRunner().invoke(show).stdout == "x\n"
