"""However a policy is cut into files, and in whichever environment: no rule is lost, and nothing is let in that no file said.

The policy is generated as what each API should be; it is then written down in one of the many ways in which that can be said, and read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scopeward.analysis.checks import examine
from scopeward.policy.bundle import Bundle
from scopeward.policy.model import Policy, Rule, To
from scopeward.policy.source import Loaded, Written, load_files, read

ENVIRONMENTS = ("dev", "stage", "prod")
KINDS = ("people", "services", "agents")
CLIENTS = {"web": "app", "sync": "service", "bot": "agent"}
SCOPES = ("read.a", "read.b", "write.a")
PUBLIC = "because"


@dataclass(frozen=True)
class Wanted:
    """A rule: who may call, ``None`` where the default says, or nobody asked (public)."""

    operation: str
    needs: tuple[str, ...]
    to: tuple[str, ...] | None
    public: bool


@dataclass(frozen=True)
class File:
    """A file with its APIs' rules; its team, and what it narrows the default to."""

    team: str | None
    narrows: tuple[str, ...] | None
    apis: Mapping[str, tuple[Wanted, ...]]


callers = st.lists(st.sampled_from([*KINDS, *CLIENTS]), min_size=1, max_size=4, unique=True).map(tuple)
wanted = st.builds(
    Wanted,
    st.sampled_from(["GET /", "POST /", "GET /{id}", "DELETE /{id}", "GET /**"]),
    st.lists(st.sampled_from(SCOPES), max_size=2, unique=True).map(tuple),
    st.one_of(st.none(), callers),
    st.sampled_from([False, False, False, True]),
)
rules = st.lists(wanted, min_size=1, max_size=4, unique_by=lambda rule: rule.operation).map(tuple)


@st.composite
def policies(draw: st.DrawFn) -> tuple[tuple[str, ...], list[File]]:
    """The default of the whole, and files: the first is the policy's own."""
    default = draw(callers)
    files = []
    for number in range(draw(st.integers(1, 4))):
        apis = {f"api-{number}-{n}": draw(rules) for n in range(draw(st.integers(1, 2)))}
        narrows = None if number == 0 else draw(st.one_of(st.none(), st.lists(st.sampled_from(default), min_size=1, unique=True).map(tuple)))
        files.append(File(None if number == 0 else draw(st.sampled_from([None, "one", "two"])), narrows, apis))
    return default, files


def words(default: tuple[str, ...], files: list[File], *, environments: bool) -> dict[str, bytes]:
    """The policy as it is written, each file as JSON, which is YAML."""
    root: dict[str, Any] = {
        "version": 1,
        "public_url": "https://${env.host}" if environments else "https://prod.example",
        "issuers": {"idp": {"issuer": "https://login/", "person": {"claim": "idtyp", "is": "user"}, "jti": "required"}},
        "defaults": {"to": list(default)},
        "scopes": {scope: {"says": "x"} for scope in SCOPES},
        "clients": {name: {"kind": kind, "id": {e: f"{name}-{e}" for e in ENVIRONMENTS} if environments else f"{name}-prod"} for name, kind in CLIENTS.items()},
    }
    if environments:
        root["environments"] = {name: {"host": f"{name}.example"} for name in ENVIRONMENTS}
    if len(files) > 1:
        root["include"] = ["teams/*.yaml"]
    texts: dict[str, dict[str, Any]] = {"p.yaml": root}
    for number, file in enumerate(files):
        name = "p.yaml" if number == 0 else f"teams/{number}.yaml"
        text = texts.setdefault(name, {})
        text["apis"] = {api: _api(api, of_api, environments=environments) for api, of_api in file.apis.items()}
        if file.team is not None:
            text["team"] = file.team
        if file.narrows is not None:
            text["defaults"] = {"to": list(file.narrows)}
    return {name: json.dumps(text).encode() for name, text in texts.items()}


def _api(name: str, of_api: tuple[Wanted, ...], *, environments: bool) -> dict[str, Any]:
    env = "${env.name}" if environments else "prod"
    return {"at": f"/{name}", "audience": f"{name}-{env}", "upstream": f"https://{env}.example", "rules": {r.operation: _rule(r) for r in of_api}}


def _rule(rule: Wanted) -> dict[str, Any]:
    if rule.public:
        return {"public": PUBLIC}
    return {"needs": list(rule.needs), **({} if rule.to is None else {"to": list(rule.to)})}


def loaded(files: Mapping[str, bytes], env: str | None) -> Policy:
    found = load_files(files, "p.yaml", env)
    assert isinstance(found, Loaded), found
    return found.policy


def lets_in(to: To) -> set[str]:
    return {*to.kinds, *to.clients}


@given(policies(), st.sampled_from(ENVIRONMENTS))
def test_every_rule_is_what_its_file_says(policy: tuple[tuple[str, ...], list[File]], env: str) -> None:
    default, files = policy
    found = loaded(words(default, files, environments=True), env)
    assert [api.name for api in found.apis] == [api for file in files for api in file.apis]
    by_name = {api.name: api for api in found.apis}
    for file in files:
        for name, said in file.apis.items():
            api = by_name[name]
            assert (api.team, api.audience, api.upstream.url) == (file.team, f"{name}-{env}", f"https://{env}.example")
            assert len(api.rules) == len(said)
            for rule, what in zip(api.rules, said, strict=True):
                _is_what_it_says(rule, what, file.narrows or default)


def _is_what_it_says(rule: Rule, what: Wanted, default: tuple[str, ...]) -> None:
    assert rule.operation == what.operation
    assert (rule.public is not None) == what.public
    if not what.public:
        assert rule.needs == what.needs
        assert lets_in(rule.to) == set(what.to or default)


@given(policies())
def test_who_may_do_what_is_the_same_in_all_environments(policy: tuple[tuple[str, ...], list[File]]) -> None:
    there = words(*policy, environments=True)
    found = [loaded(there, env) for env in ENVIRONMENTS]
    assert len({tuple((api.name, api.team, api.at, api.rules, api.default_to) for api in one.apis) for one in found}) == 1
    assert len({(one.scopes, one.default_to, one.unlisted_clients, one.sends, one.trust) for one in found}) == 1
    assert [client.id for one in found for client in one.clients] == [f"{name}-{env}" for env in ENVIRONMENTS for name in CLIENTS]


@given(policies())
def test_an_environment_is_the_policy_with_its_values_written_out(policy: tuple[tuple[str, ...], list[File]]) -> None:
    chosen = loaded(words(*policy, environments=True), "prod")
    assert chosen.environment == "prod"
    assert replace(chosen, environment=None) == loaded(words(*policy, environments=False), None)


@given(policies())
def test_files_are_one_policy_however_it_is_cut(policy: tuple[tuple[str, ...], list[File]]) -> None:
    """The same in one file, where each rule says what its file would have said by default."""
    default, files = policy
    apis = {name: tuple(replace(r, to=r.to or file.narrows or default) for r in said) for file in files for name, said in file.apis.items()}
    one = loaded(words(default, [File(None, None, apis)], environments=False), None)
    several = loaded(words(default, files, environments=False), None)
    assert [(api.name, api.at, [(r.operation, r.needs, r.public, lets_in(r.to)) for r in api.rules if r.public is None]) for api in one.apis] == [
        (api.name, api.at, [(r.operation, r.needs, r.public, lets_in(r.to)) for r in api.rules if r.public is None]) for api in several.apis
    ]


@given(policies(), st.data())
def test_what_a_file_adds_changes_nothing_of_another(policy: tuple[tuple[str, ...], list[File]], data: st.DataObject) -> None:
    """A team's file is its own: whatever it says, others' rules stay, or the whole is refused."""
    default, files = policy
    more = File("late", data.draw(st.one_of(st.none(), callers)), {"late": data.draw(rules)})
    written = read(Bundle("p.yaml", words(default, [*files, more], environments=False)))
    assert isinstance(written, Written)
    found = written.choose(None)
    assert isinstance(found, Loaded)
    before = loaded(words(default, files, environments=False), None)
    assert found.policy.apis[: len(before.apis)] == before.apis
    assert replace(found.policy, apis=before.apis, narrowings=before.narrowings) == before
    refused = {d.reference for d in examine(written).diagnostics if d.severity == "error"}
    kind_of = {"web": "people", "sync": "services", "bot": "agents"}
    widens = any(word not in default and kind_of.get(word) not in default for word in more.narrows or ())
    assert ("team-widens" in refused) == widens


@given(policies(), st.sampled_from(["rules", "needs", "to", "public", "scope", "client", "api", "operation", "team"]))
def test_no_value_of_an_environment_decides_who_may(policy: tuple[tuple[str, ...], list[File]], where: str) -> None:
    texts = {name: json.loads(text) for name, text in words(*policy, environments=True).items()}
    root = texts["p.yaml"]
    first: dict[str, Any] = next(iter(root["apis"].values()))
    match where:
        case "needs" | "to":
            first["rules"]["HEAD /x"] = {where: ["${env.name}"]}
        case "public":
            first["rules"]["HEAD /x"] = {"public": "${env.host}"}
        case "operation":
            first["rules"]["GET /${env.name}"] = {"needs": []}
        case "rules":
            first["rules"] = "${env.name}"
        case "scope":
            root["scopes"]["read.${env.name}"] = {"says": "x"}
        case "client":
            root["clients"]["web"]["may"] = "${env.name}"
        case "api":
            root["apis"]["${env.name}"] = first
        case "team":
            root["teams"] = {"one": {"owners": ["@${env.name}"]}}
    written = read(Bundle("p.yaml", {name: json.dumps(text).encode() for name, text in texts.items()}))
    assert not isinstance(written, Written)
    assert {d.reference for d in written} & {"env-not-here", "policy-value"}
