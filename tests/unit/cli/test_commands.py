"""schema and completion: each answer and each error."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from .conftest import STARTER, Run


def test_schema(run: Run) -> None:
    ran = run("schema")
    assert ran.status == 0
    jsonschema.Draft202012Validator.check_schema(ran.json)
    jsonschema.validate(yaml.safe_load(STARTER), ran.json)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run: Run, shell: str) -> None:
    ran = run("completion", shell)
    assert ran.status == 0
    assert "_SCOPEWARD_COMPLETE" in ran.out
    assert "scopeward" in ran.out


def test_completion_for_another_shell(run: Run) -> None:
    ran = run("completion", "tcsh")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("error[usage]: ")


def test_completing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SCOPEWARD_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "scopeward che")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run().out == "plain,check\n"


def test_the_schema_is_json_in_one_piece(run: Run) -> None:
    assert json.loads(run("schema").out)["$id"].startswith("https://")
