"""Policies of several files: which belong to one, what each may hold, and that nothing of it is lost."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from scopeward.policy.bundle import LARGEST, MOST_FILES, Bundle
from scopeward.policy.diagnostic import Diagnostic, limited
from scopeward.policy.include import OutsideError, PatternError, parse_pattern, patterns_of
from scopeward.policy.model import Narrowing, To
from scopeward.policy.source import Loaded, Written, load, load_files, read

ROOT = """\
version: 1
include: teams/*.yaml
public_url: https://api.example
issuers:
  idp: {issuer: "https://login.example/", audience: "api://acme", person: {claim: idtyp, is: user}, jti: required}
scopes:
  read.health: {says: See whether it works}
"""
ORDERS = """\
team: orders
scopes:
  read.orders: {says: Read orders}
clients:
  sync: {kind: service, id: sync}
apis:
  orders:
    at: /orders
    audience: api://orders
    upstream: https://orders.example
    rules:
      GET /**: {needs: read.orders}
"""
STOCK = """\
team: stock
defaults: {to: services}
apis:
  stock:
    at: /stock
    audience: api://stock
    upstream: https://stock.example
    rules:
      GET /{sku}: {needs: read.health}
      GET /all: {needs: read.health, to: [people, services]}
"""
FILES = {"scopeward.yaml": ROOT, "teams/orders.yaml": ORDERS, "teams/stock.yaml": STOCK}


def files(changes: Mapping[str, str | bytes] | None = None) -> dict[str, bytes]:
    texts: dict[str, str | bytes] = {**FILES, **(changes or {})}
    return {name: text if isinstance(text, bytes) else text.encode() for name, text in texts.items()}


def loaded(changes: Mapping[str, str | bytes] | None = None) -> Loaded:
    found = load_files(files(changes), "scopeward.yaml")
    assert isinstance(found, Loaded), found
    return found


def wrong(changes: Mapping[str, str | bytes]) -> tuple[Diagnostic, ...]:
    found = load_files(files(changes), "scopeward.yaml")
    assert isinstance(found, tuple), found
    return found


def said(changes: Mapping[str, str | bytes]) -> list[tuple[str, str, str]]:
    return [(str(d.span), d.reference, d.message) for d in wrong(changes)]


# ── patterns ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pattern", "matches", "does_not"),
    [
        ("teams/*.yaml", ["teams/a.yaml", "teams/b-2.yaml"], ["teams/.hidden.yaml", "teams/x/a.yaml", "teams/a.yml", "a.yaml", "xteams/a.yaml"]),
        ("./a.yaml", ["a.yaml"], ["b.yaml", "x/a.yaml"]),
        ("*/policy.yaml", ["a/policy.yaml"], [".git/policy.yaml", "a/b/policy.yaml"]),
        ("t?am/x.yaml", ["team/x.yaml", "t-am/x.yaml"], ["tam/x.yaml", "t/am/x.yaml", "teeam/x.yaml"]),
        (".hidden/*", [".hidden/a"], [".hidden/.a"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_what_a_pattern_stands_for(pattern: str, matches: list[str], does_not: list[str]) -> None:
    parsed = parse_pattern(pattern)
    assert all(parsed.matches(path) for path in matches)
    assert not any(parsed.matches(path) for path in does_not)


@pytest.mark.parametrize("text", ["../a.yaml", "teams/../../a", "/etc/passwd", "~/a", "C:/a", "a\\b", ".."])
def test_what_leads_out_is_no_pattern(text: str) -> None:
    with pytest.raises(OutsideError):
        parse_pattern(text)
    assert said({"scopeward.yaml": ROOT.replace("teams/*.yaml", f"'{text}'")})[0][1] == "include-outside"


@pytest.mark.parametrize("text", ["", "a//b", "a/./b", "a/", "**/a", "a[b]", "{a,b}", "a\x00b", "!a", "a#b"])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(PatternError):
        parse_pattern(text)


def test_the_folders_without_wildcards_are_known() -> None:
    assert [parse_pattern(p).folder for p in ("a.yaml", "a/b/*.yaml", "a/*/b/c.yaml", "*/x")] == [(), ("a", "b"), ("a",), ()]


def test_the_patterns_of_a_text_are_those_that_can_be_understood() -> None:
    assert [str(p) for p in patterns_of(ROOT.encode())] == ["teams/*.yaml"]
    assert [str(p) for p in patterns_of(b"include: [a, ../b, [c], 'd/*']")] == ["a", "d/*"]
    for text in (b"", b"x: 1", b"include: {a: b}", b"include:", b"- include", b"include: [", b"\xff include", b"a: &a include\nb: *a"):
        assert patterns_of(text) == ()


# ── together ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_files_are_one_policy() -> None:
    policy = loaded().policy
    assert [(s.name, s.team) for s in policy.scopes] == [("read.health", None), ("read.orders", "orders")]
    assert [(c.name, c.team, c.issuer) for c in policy.clients] == [("sync", "orders", "idp")]
    assert [(a.name, a.team, a.issuer) for a in policy.apis] == [("orders", "orders", "idp"), ("stock", "stock", "idp")]


def test_the_places_are_those_of_each_file() -> None:
    spans = loaded().spans
    assert str(spans.of(("apis", "orders", "at"))) == "teams/orders.yaml:8:9"
    assert str(spans.of(("apis", "stock", "at"))) == "teams/stock.yaml:5:9"
    assert str(spans.of(("scopes", "read.health"))) == "scopeward.yaml:7:3"
    assert str(spans.of(("defaults", "to"))).startswith("scopeward.yaml:")
    assert str(spans.of(("files", "teams/stock.yaml", "defaults", "to"))) == "teams/stock.yaml:2:16"


def test_defaults_of_a_file_are_of_its_rules_that_say_none() -> None:
    policy = loaded().policy
    orders, stock = policy.apis
    assert policy.default_to == To()
    assert policy.narrowings == (Narrowing("teams/stock.yaml", To(("services",))),)
    assert [rule.to for rule in stock.rules] == [To(("services",)), To(("people", "services"))]
    assert [rule.to for rule in orders.rules] == [To()]
    assert (orders.default_to, stock.default_to) == (To(), To(("services",)))


def test_the_order_of_files_means_nothing() -> None:
    there = files()
    turned = dict(reversed(there.items()))
    one, other = load_files(there, "scopeward.yaml"), load_files(turned, "scopeward.yaml")
    assert isinstance(one, Loaded)
    assert isinstance(other, Loaded)
    assert one.policy == other.policy


def test_files_that_are_not_included_do_not_count() -> None:
    assert loaded({"other.yaml": "nonsense: [", "teams/x/a.yaml": "nonsense"}).policy == loaded().policy


def test_a_list_of_patterns_takes_each_file_once() -> None:
    text = ROOT.replace("teams/*.yaml", "[teams/*.yaml, teams/orders.yaml, 'teams/s*.yaml']")
    assert loaded({"scopeward.yaml": text}).policy == loaded().policy


def test_a_policy_that_includes_may_have_no_apis_of_its_own_and_any_other_has() -> None:
    assert [ref for _, ref, _ in said({"scopeward.yaml": ROOT.replace("include: teams/*.yaml\n", "")})] == ["policy-missing-key"]


# ── what is wrong ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "place", "reference", "message"),
    [
        ({"scopeward.yaml": ROOT.replace("*.yaml", "*.yml")}, "scopeward.yaml:2:10", "include-nothing", "no file matches 'teams/*.yml'"),
        ({"scopeward.yaml": ROOT.replace("teams/*.yaml", "[teams/*.yaml, x.yaml]")}, "scopeward.yaml:2:25", "include-nothing", "no file matches 'x.yaml'"),
        (
            {"scopeward.yaml": ROOT.replace("teams/*.yaml", "['*.yaml', teams/*.yaml]")},
            "scopeward.yaml:2:11",
            "include-nested",
            "'*.yaml' includes the policy's own file",
        ),
        (
            {"teams/stock.yaml": "include: x.yaml\n" + STOCK},
            "teams/stock.yaml:1:1",
            "include-nested",
            "the key 'include' belongs into the policy's own file, not into one that it includes",
        ),
        (
            {"teams/stock.yaml": "issuers: {}\n" + STOCK},
            "teams/stock.yaml:1:1",
            "policy-unknown-key",
            "the key 'issuers' belongs into the policy's own file, not into one that it includes",
        ),
        (
            {"teams/stock.yaml": "scopes:\n  read.orders: {says: x}\n" + STOCK},
            "teams/stock.yaml:2:3",
            "name-twice",
            "the name 'read.orders' of 'scopes' stands twice, first at teams/orders.yaml:3:3",
        ),
        (
            {"scopeward.yaml": ROOT + "clients:\n  sync: {kind: app, id: x}\n"},
            "teams/orders.yaml:5:3",
            "name-twice",
            "the name 'sync' of 'clients' stands twice, first at scopeward.yaml:9:3",
        ),
        ({"teams/stock.yaml": STOCK.replace("  stock:", "  orders:")}, "teams/stock.yaml:4:3", "name-twice", None),
        ({"teams/stock.yaml": STOCK.replace("at: /stock", "at: stock")}, "teams/stock.yaml:5:9", "policy-value", None),
        ({"teams/stock.yaml": STOCK.replace("    at: /stock\n", "")}, "teams/stock.yaml:4:3", "policy-missing-key", "the key 'at' is missing"),
        ({"teams/stock.yaml": STOCK.replace("to: services", "too: services")}, "teams/stock.yaml:2:12", "policy-unknown-key", "unknown key 'too'"),
        ({"teams/stock.yaml": STOCK.replace("to: services", "unlisted_clients: as_person")}, "teams/stock.yaml:2:12", "policy-unknown-key", None),
        ({"teams/stock.yaml": ""}, "teams/stock.yaml:1:1", "policy-empty", "the file has no content"),
        ({"teams/stock.yaml": "- a"}, "teams/stock.yaml:1:1", "policy-type", "a file that is included is a mapping of keys"),
        ({"teams/stock.yaml": STOCK.encode("utf-16")}, "teams/stock.yaml:1:1", "policy-encoding", "the file is UTF-16, not UTF-8"),
        ({"teams/stock.yaml": "# \u00e9\n".encode("latin-1") + STOCK.encode()}, "teams/stock.yaml:1:3", "policy-encoding", "the byte 0xe9 is not UTF-8"),
        ({"teams/stock.yaml": STOCK.replace("GET /all: {", "GET /all: {<<: x, ")}, "teams/stock.yaml:10:18", "policy-alias", None),
        ({"teams/stock.yaml": STOCK + "x: &a 1\n"}, "teams/stock.yaml:11:4", "policy-alias", None),
        ({"teams/stock.yaml": STOCK + "x: [\n"}, "teams/stock.yaml:12:1", "policy-syntax", None),
        ({"teams/stock.yaml": STOCK + "team: x\n"}, "teams/stock.yaml:11:1", "policy-duplicate-key", None),
        ({"teams/stock.yaml": b"#" * (LARGEST + 1)}, "teams/stock.yaml:1:1", "policy-too-large", None),
        ({"teams/stock.yaml": "version: 2\n" + STOCK}, "teams/stock.yaml:1:10", "policy-value", "the version of the language is 1"),
    ],
)
def test_what_is_wrong_is_said_of_the_file(changes: dict[str, str | bytes], place: str, reference: str, message: str | None) -> None:
    found = [d for d in wrong(changes) if d.severity == "error"]
    assert [(str(d.span), d.reference) for d in found] == [(place, reference)]
    assert message is None or found[0].message == message


def test_a_bomb_in_each_file_is_a_line_to_complain_about() -> None:
    bomb = "a: &a [x]\n" + "".join(f"b{i}: &b{i} [{', '.join(['*a'] * 9)}]\n" for i in range(20))
    many = {f"teams/{i:03}.yaml": bomb for i in range(500)}
    found = wrong({**many, "scopeward.yaml": ROOT})
    assert {d.reference for d in found} == {"policy-alias"}
    assert found[-1].message.startswith("and ")


def test_mistakes_of_all_files_are_said_at_once() -> None:
    found = said({"teams/orders.yaml": ORDERS.replace("kind: service", "kind: robot"), "teams/stock.yaml": STOCK.replace("upstream:", "upsteam:")})
    assert [place.partition(":")[0] for place, _, _ in found] == ["teams/orders.yaml", "teams/stock.yaml"]


def test_too_many_files_are_refused() -> None:
    many = {f"teams/{number}.yaml": "{}" for number in range(MOST_FILES)}
    assert [ref for _, ref, _ in said(many)] == ["include-too-much"]


@pytest.mark.parametrize(
    ("why", "reference"),
    [("outside", "include-outside"), ("unreadable", "policy-unreadable"), ("too-many", "include-too-much"), ("too-large", "include-too-much")],
)
def test_what_was_not_read_is_not_passed_over(why: str, reference: str) -> None:
    found = read(Bundle("scopeward.yaml", files(), None, "p/", {"teams/x.yaml": why}))  # type: ignore[dict-item]
    assert not isinstance(found, Written)
    assert [(d.reference, str(d.span)) for d in limited(found)] == [(reference, "p/scopeward.yaml:2:10")]


def test_files_are_named_as_they_were_given() -> None:
    found = read(Bundle("scopeward.yaml", files({"teams/stock.yaml": "x: 1\n"}), None, "policies/"))
    assert isinstance(found, Written)
    wrong_there = found.choose(None)
    assert isinstance(wrong_there, tuple)
    assert [str(d.span) for d in wrong_there] == ["policies/teams/stock.yaml:1:1"]


def test_a_text_alone_includes_nothing() -> None:
    found = load(ROOT.encode(), "teams/me.yaml")
    assert isinstance(found, tuple)
    assert {d.reference for d in found} >= {"include-nested"}
    found = load(ROOT.encode(), "me.yaml")
    assert isinstance(found, tuple)
    assert [d.reference for d in found] == ["include-nothing"]


# ── whose a file is ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEAMS = "teams:\n  orders: {files: teams/orders.yaml}\n  stock: {}\n"


def test_by_its_path_and_else_by_its_word() -> None:
    policy = loaded({"scopeward.yaml": ROOT + TEAMS, "teams/orders.yaml": ORDERS.replace("team: orders\n", "")}).policy
    assert [a.team for a in policy.apis] == ["orders", "stock"]
    assert policy.teams == ("orders", "stock")


@pytest.mark.parametrize(
    ("teams", "orders", "stock", "place", "reference"),
    [
        (TEAMS, "stock", "stock", "teams/orders.yaml:1:7", "team-contradiction"),
        (TEAMS, "orders", "orders", "teams/stock.yaml:1:7", "team-contradiction"),
        (TEAMS, "orders", "stokc", "teams/stock.yaml:1:7", "name-unknown"),
        (TEAMS.replace("stock: {}", "stock: {files: teams/*.yaml}"), "orders", "stock", "teams/orders.yaml:1:1", "team-contradiction"),
    ],
)
def test_no_file_can_take_another_teams_name(teams: str, orders: str, stock: str, place: str, reference: str) -> None:
    changes = {
        "scopeward.yaml": ROOT + teams,
        "teams/orders.yaml": ORDERS.replace("team: orders", f"team: {orders}"),
        "teams/stock.yaml": STOCK.replace("team: stock", f"team: {stock}"),
    }
    assert [(where, ref) for where, ref, _ in said(changes)] == [(place, reference)]


def test_owners_are_names_as_codeowners_takes_them() -> None:
    for owner in ("acme", "@acme/a/b", "@", "a b@c", ""):
        assert [ref for _, ref, _ in said({"scopeward.yaml": ROOT + f"owners: ['{owner}']\n"})] == ["policy-value"]
    written = read(Bundle("scopeward.yaml", files({"scopeward.yaml": ROOT + "owners: '@acme'\nteams: {orders: {owners: [a@b.example]}, stock: {}}\n"})))
    assert isinstance(written, Written)
    assert written.owners == {None: ("@acme",), "orders": ("a@b.example",), "stock": ()}


# ── many ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_team(number: int) -> str:
    """Five APIs of ten rules each, and fifty clients."""
    clients = "".join(f"  c{number}-{n}: {{kind: service, id: {{dev: d{number}-{n}, prod: p{number}-{n}}}, may: [read.s{number}]}}\n" for n in range(50))
    rules = "".join(f"      GET /x{n}/{{id}}: {{needs: read.s{number}, to: [services, c{number}-{n}]}}\n" for n in range(10))
    apis = "".join(
        f"  a{number}-{n}:\n    at: /a{number}/{n}\n    audience: a{number}-{n}-${{env.name}}\n    upstream: https://a-${{env.name}}.example\n    rules:\n{rules}"
        for n in range(5)
    )
    return f"team: t{number}\nscopes: {{read.s{number}: {{says: Read}}}}\nclients:\n{clients}apis:\n{apis}"


def test_many_files_take_little_time() -> None:
    """A tenth of what must take less than five seconds; so loose that a busy machine passes, and that a step that is not linear does not."""
    root = ROOT + "environments: {dev: {}, prod: {}}\n"
    there = {"scopeward.yaml": root.encode(), **{f"teams/{n:03}.yaml": a_team(n).encode() for n in range(20)}}
    begun = time.process_time()
    found = load_files(there, "scopeward.yaml", "prod")
    assert isinstance(found, Loaded), found
    assert time.process_time() - begun < 2
    assert (len(found.policy.apis), len(found.policy.clients)) == (100, 1000)
    assert found.policy.clients[-1].id == "p19-49"
