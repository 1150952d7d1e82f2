"""Environments, files and teams from the commands: check, show, codeowners, apply, schema."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import yaml

from scopeward.cli import apply as apply_module
from scopeward.envoy.state_dir import APPLIED, IN_FORCE, StateDir
from scopeward.errors import ScopewardError
from scopeward.policy.document import ApiEntry, IssuerEntry, RuleEntry, TrustEntry, UpstreamEntry
from scopeward.warden import checked, read_policy
from tests.kit.commands import Ran

from .conftest import STARTER, Run

EXAMPLE = Path(__file__).resolve().parents[3] / "docs/examples/environments-and-teams"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example of the documentation, in the current folder."""
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# ── check ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_environments_are_checked(run: Run, example: Path) -> None:
    assert run("check").out == "scopeward.yaml: good (2 APIs, 5 rules, 2 clients, in dev, stage, prod)\n"
    assert run("check", "--env", "prod").out == "scopeward.yaml: good (2 APIs, 5 rules, 2 clients, in prod)\n"
    assert run("check", "-o", "json").json["environments"] == ["dev", "stage", "prod"]


def test_the_environment_is_a_setting(run: Run, example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("scopeward.toml").write_text('env = "dev"\n')
    assert run("check").out.endswith("in dev)\n")
    monkeypatch.setenv("SCOPEWARD_ENV", "stage")
    assert run("check").out.endswith("in stage)\n")
    assert run("check", "--env", "prod").out.endswith("in prod)\n")


def test_a_finding_names_file_and_environments(run: Run, example: Path) -> None:
    edit(example / "teams/stock.yaml", "https://stock-${env.name}", "http://${env.host}")
    edit(example / "scopeward.yaml", "localhost:8443", "localhost")
    edit(example / "teams/stock.yaml", ', client_certificate: "file:/etc/scopeward/${env.name}/to-stock.pem"', "")
    edit(example / "teams/stock.yaml", ".acme.example", "")
    ran = run("check")
    assert ran.status == 1
    assert "teams/stock.yaml:14:21: error[plaintext-upstream]: the upstream of 'stock' is reached by http and is not on loopback (in stage, prod)" in ran.out
    (found,) = run("check", "-o", "json").json["diagnostics"]
    assert (found["file"], found["environments"]) == ("teams/stock.yaml", ["stage", "prod"])


def test_an_environment_that_is_not_there_is_no_fault_of_the_policy(run: Run, example: Path, tmp_path: Path) -> None:
    ran = run("check", "--env", "prdo")
    assert (ran.status, ran.err) == (3, "error[env-unknown]: there is no environment 'prdo'\n  help: Did you mean 'prod'?\n")
    (tmp_path / "plain.yaml").write_text(STARTER)
    ran = run("check", "plain.yaml", "--env", "prod")
    assert (ran.status, ran.err.splitlines()[1]) == (3, "  help: Leave --env out.")
    assert "the policy has no 'environments'" in ran.err


def test_a_thousand_mistakes_are_counted(run: Run, example: Path) -> None:
    for number in range(40):
        (example / f"teams/stock-{number}.yaml").write_text("".join(f"k{number}-{n}: 1\n" for n in range(25)))
    edit(example / "teams/orders.yaml", "kind: app", "kind: robot")
    found = run("check", "-o", "json").json
    assert found["errors"] == 1001
    assert len(found["diagnostics"]) == 51
    assert "policy-value" in {d["reference"] for d in found["diagnostics"]}
    assert found["diagnostics"][-1]["message"] == "and 951 more of the same kind"
    assert run("check").out.splitlines()[-1] == "scopeward.yaml: 1001 errors"


# ── show ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_show_says_where_each_value_came_from(run: Run, example: Path) -> None:
    out = run("show", "stock", "--env", "prod").out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "stock in prod, of the team stock teams/stock.yaml:11"
    for line in (
        "at /stock/v1 teams/stock.yaml:12",
        "audience api://stock-prod teams/stock.yaml:13",
        "issuer workforce scopeward.yaml:18",
        "trust.lifetime 1h scopeward.yaml:25",
        "upstream.timeout 30s default",
        "limits.body 10MiB default",
        "GET /{sku} teams/stock.yaml:16",
        "needs read.stock teams/stock.yaml:16",
        "to services teams/stock.yaml:5",
        "to order-sync teams/stock.yaml:17",
    ):
        assert line in lines
    assert all(len(line) <= 80 for line in out.splitlines())


def test_show_for_programs(run: Run, example: Path) -> None:
    found = run("show", "orders", "--env", "stage", "-o", "json").json
    assert (found["api"], found["team"], found["environment"], found["source"]) == ("orders", "orders", "stage", "teams/orders.yaml:14")
    assert found["values"]["public_url"] == {
        "value": "https://api-stage.acme.example",
        "source": "scopeward.yaml:15",
        "filled": ["scopeward.yaml:8"],
    }
    assert found["values"]["case"] == {"value": "guarded", "source": "default", "filled": []}
    rule = next(rule for rule in found["rules"] if rule["operation"] == "GET /**")
    assert rule["values"]["to"] == {"value": ["people", "services"], "source": "scopeward.yaml:28", "filled": []}
    assert rule["values"]["needs"]["source"] == "teams/orders.yaml:19"


def test_show_has_every_value_of_the_reference(run: Run, policy: Path) -> None:
    """A field that is added to the language is a value that somebody wants to see."""
    found = run("show", "orders", "-o", "json").json
    assert (found["team"], found["environment"]) == (None, None)
    shown = {name.rpartition(".")[2] for name in found["values"]} | {"needs", "to", "public", "stream"}
    fields = {f for form in (ApiEntry, IssuerEntry, RuleEntry, UpstreamEntry) for f in form.model_fields}
    assert fields - shown <= {"rules", "path", "upstream", "keys"}
    assert set(TrustEntry.model_fields) == {"lifetime", "over", "log", "max_stream"}


def test_show_needs_an_environment_and_an_api(run: Run, example: Path) -> None:
    ran = run("show", "orders")
    assert ran.status == 3
    assert "error[env-needed]: the policy has the environments dev, stage, prod, and none is chosen" in ran.err
    ran = run("show", "ordres", "--env", "prod")
    assert (ran.status, ran.err) == (3, "error[name-unknown]: the policy has no API 'ordres'\n  help: Did you mean 'orders'?\n")


def test_what_is_long_goes_on_lines_of_its_own(run: Run, example: Path) -> None:
    edit(example / "teams/orders.yaml", "needs: read.orders}", f"needs: read.orders, to: [{', '.join(['people', 'services', 'order-sync', 'orders-web'])}]}}")
    folder = example / "a-folder-with-a-long-name"
    shutil.copytree(EXAMPLE, folder)
    out = run("show", "orders", "a-folder-with-a-long-name/scopeward.yaml", "--env", "prod").out
    assert "files are below a-folder-with-a-long-name/\n" in out
    assert all(len(line) <= 80 for line in out.splitlines())


# ── codeowners ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

OWNERS = """\
# Written by 'scopeward codeowners'. Change the policy, then run it again.
/policies/teams/*.yaml @acme/platform
/policies/scopeward.yaml @acme/platform
/policies/teams/orders.yaml @acme/orders
/policies/teams/stock.yaml @acme/stock stock@acme.example
/policies/teams/stock-*.yaml @acme/stock stock@acme.example
"""


def test_codeowners(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "policies")
    assert run("codeowners", "policies/scopeward.yaml").out == OWNERS
    assert run("codeowners", str(tmp_path / "policies/scopeward.yaml")).out == OWNERS
    monkeypatch.chdir(tmp_path / "policies")
    assert run("codeowners").out == OWNERS.replace("/policies", "")
    monkeypatch.chdir(tmp_path / "policies/teams")
    assert run("codeowners", "../scopeward.yaml").status == 2


def test_owners_of_files_that_say_their_team(run: Run, example: Path) -> None:
    edit(example / "scopeward.yaml", "files: teams/orders.yaml, ", "")
    edit(example / "scopeward.yaml", 'owners: ["@acme/platform"]', "")
    (example / "teams/stock.yaml").rename(example / "teams/stock-of all.yaml")
    assert run("codeowners").out.splitlines()[1:] == [
        "/teams/stock.yaml @acme/stock stock@acme.example",
        "/teams/stock-*.yaml @acme/stock stock@acme.example",
        "/teams/orders.yaml @acme/orders",
    ]
    edit(example / "scopeward.yaml", "[teams/stock.yaml, teams/stock-*.yaml]", "teams/stock-of all.yaml")
    assert "/teams/stock-of\\ all.yaml @acme/stock stock@acme.example" in run("codeowners").out


def test_owners_of_a_policy_that_is_wrong(run: Run, example: Path) -> None:
    edit(example / "teams/stock.yaml", "team: stock", "team: orders")
    ran = run("codeowners")
    assert (ran.status, ran.out) == (3, "")
    assert "error[team-contradiction]" in ran.err


# ── schema ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_schemas_take_the_example(run: Run) -> None:
    for words, paths in (((), [EXAMPLE / "scopeward.yaml"]), (("--included",), sorted((EXAMPLE / "teams").iterdir()))):
        schema = run("schema", *words).json
        for path in paths:
            text = path.read_text()
            jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(text))
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(text.replace("scopes:", "socpes:")))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("confirm: true", "confirm: sometimes"),
        ("confirm: true", "name: x"),
        ("confirm: true", "x y: x"),
        ("https://${env.host}", "ftp://env.host"),
        ('owners: ["@acme/platform"]', 'owners: ["acme"]'),
        ("include: teams/*.yaml\n", ""),
        ("  orders: {files", "  or ders: {files"),
    ],
)
def test_the_schema_refuses_what_load_refuses(run: Run, example: Path, old: str, new: str) -> None:
    edit(example / "scopeward.yaml", old, new)
    validator = jsonschema.Draft202012Validator(run("schema").json)
    assert list(validator.iter_errors(yaml.safe_load((example / "scopeward.yaml").read_text())))
    assert run("check").status == 1


# ── apply ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def applies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An apply that compiles nothing: what is looked at is what it asks, stores and says."""

    async def prepared(files: Any, *_: Any) -> Any:
        loaded, warnings = checked(files)
        return SimpleNamespace(policy=loaded.policy, warnings=warnings, gateway=SimpleNamespace(policy_version="0123456789ab"))

    monkeypatch.setattr(apply_module, "_prepare", prepared)
    return


def apply(run: Run, *words: str, **more: Any) -> Ran:
    return run("apply", "--state-dir", "state", *words, **more)


def test_what_is_applied_is_all_files_and_the_environment(run: Run, example: Path, applies: None) -> None:
    ran = apply(run, "--env", "stage")
    assert (ran.status, ran.out) == (0, "policy 0123456789ab for stage is applied; no node runs here: 'scopeward run' serves it\n")
    found = read_policy(Path("state") / APPLIED)
    assert (found.env, found.root, sorted(found.files)) == ("stage", "scopeward.yaml", ["scopeward.yaml", "teams/orders.yaml", "teams/stock.yaml"])
    assert found.sha256 == read_policy(Path("scopeward.yaml"), "stage").sha256
    assert apply(run, "--env", "dev", "-o", "json").json["environment"] == "dev"
    assert checked(read_policy(Path("state") / APPLIED))[0].policy.environment == "dev"


def test_a_policy_of_one_file_is_applied_as_it_is(run: Run, policy: Path, applies: None) -> None:
    assert apply(run).out.startswith("policy 0123456789ab is applied;")
    assert (Path("state") / APPLIED).read_text() == STARTER


def test_without_an_environment_nothing_is_applied(run: Run, example: Path, applies: None) -> None:
    for words, reference in (((), "env-needed"), (("--env", "x"), "env-unknown")):
        ran = apply(run, *words)
        assert ran.status == 3
        assert f"error[{reference}]" in ran.err
    assert not (Path("state") / APPLIED).exists()


def test_tokens_that_are_good_elsewhere_keep_a_policy_from_being_applied(run: Run, example: Path, applies: None) -> None:
    edit(example / "scopeward.yaml", "login: login-stage.acme.example", "login: login.acme.example")
    edit(example / "teams/orders.yaml", "api://orders-${env.name}", "api://orders")
    ran = apply(run, "--env", "prod", "--yes")
    assert ran.status == 3
    assert "error[token-valid-in-two-environments]" in ran.err
    assert "(in stage, prod)" in ran.err
    assert apply(run, "--env", "dev").status == 0


def test_where_an_environment_asks_somebody_must_answer(run: Run, example: Path, applies: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = apply(run, "--env", "prod", input="y\n")  # what comes through a pipe is nobody's answer
    assert ran.status == 3
    assert "error[confirm-needed]: the environment 'prod' asks to confirm, and there is no terminal\n  help: Where it is meant, say --yes." in ran.err
    assert not (Path("state") / APPLIED).exists()
    monkeypatch.setattr("scopeward.cli.apply._at_terminal", lambda: True)
    for answer in ("n\n", "\n"):
        ran = apply(run, "--env", "prod", input=answer)
        assert (ran.status, ran.out) == (1, "")
        assert "not applied; nothing was changed" in ran.err
        assert not (Path("state") / APPLIED).exists()
    assert apply(run, "--env", "prod", input="").status == 130
    assert not (Path("state") / APPLIED).exists()
    ran = apply(run, "--env", "prod", input="y\n")
    assert ran.status == 0
    assert "Put policy 0123456789ab in force in prod? [y/N]" in ran.err
    assert (Path("state") / APPLIED).exists()


def test_a_pipeline_says_yes(run: Run, example: Path, applies: None) -> None:
    assert apply(run, "--env", "prod", "--yes").status == 0
    assert apply(run, "--env", "prod", "--yes", "-o", "json").json == {
        "policy": "scopeward.yaml",
        "environment": "prod",
        "policy_version": "0123456789ab",
        "confirmed": False,
    }


def test_what_the_node_does_not_confirm_is_taken_back(run: Run, example: Path, applies: None, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(run, "--env", "dev")
    before = (Path("state") / APPLIED).read_text()
    state = StateDir(Path("state"))
    files = read_policy(Path("scopeward.yaml"), "stage")
    state.write_json(IN_FORCE, {"refused": {"sha256": files.sha256, "reference": "env-other", "what": "it is of dev", "remedy": "Look."}})
    state.lock()
    try:
        ran = apply(run, "--env", "stage")
    finally:
        state.unlock()
    assert ran.status == 3
    assert ran.err == "error[env-other]: the running node refused the policy: it is of dev\n  help: Look.\n"
    assert (Path("state") / APPLIED).read_text() == before


def test_run_serves_what_was_applied_and_nothing_of_another_environment(run: Run, example: Path, applies: None, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(run, "--env", "stage")
    asked: list[tuple[Any, ...]] = []

    async def follow(settings: Any, _state: Any, path: Path, *_: Any, applied: bool) -> None:
        asked.append((settings.env.value, path.name, applied))

    monkeypatch.setattr("scopeward.cli.run.follow", follow)
    assert run("run", "--state-dir", "state", "--env", "stage").status == 0
    assert asked == [("stage", "policy.yaml", True)]


def test_a_policy_that_is_applied_can_be_checked(run: Run, example: Path, applies: None) -> None:
    apply(run, "--env", "stage")
    assert run("check", f"state/{APPLIED}").out.endswith("(2 APIs, 5 rules, 2 clients, in dev, stage, prod)\n")
    with pytest.raises(ScopewardError):
        read_policy(Path("state") / APPLIED, "prod")
    assert json.loads((Path("state") / APPLIED).read_text())["env"] == "stage"
