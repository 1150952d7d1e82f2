"""What the documentation promises: it is complete, its examples are right, its commands exist, its links lead somewhere."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from scopeward.analysis.checks import check, examine, without_notes
from scopeward.audit_line import FIELDS, json_schema, parse
from scopeward.cli.answers import Answers
from scopeward.cli.starter import starter_policy
from scopeward.compile.envoy.filters import HTTP_FILTERS
from scopeward.demo.story import STORY
from scopeward.errors import CALL_REFERENCES, REFERENCES
from scopeward.policy.source import Loaded, Written, load, read
from scopeward.policy_files import read_policy
from scopeward.settings import Settings
from tools import docs, policy_page
from tools.markdown import anchor

ROOT = docs.ROOT
GENERATED = docs.pages()

# what is read as a page; the parts in references/extra become pages of references
PAGES = sorted(
    [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")] + [path for path in (ROOT / "docs").rglob("*.md") if path.parent != docs.EXTRA]
)
WRITTEN = [path for path in PAGES if path.relative_to(ROOT).as_posix() not in GENERATED]


def name_of(path: object) -> str:
    return path.relative_to(ROOT).as_posix() if isinstance(path, Path) else str(path)


def blocks(path: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a page in these languages."""
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        if language in languages:
            yield text


# ── generated pages ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_generated_pages_are_up_to_date() -> None:
    assert docs.differences() == [], "run 'make docs'"


def test_checking_writes_nothing_and_finds_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "pages", lambda: {"docs/references/a.md": "a\n", "docs/schema/b.json": "{}\n"})
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    (tmp_path / "docs/references").mkdir(parents=True)
    (tmp_path / "docs/references/a.md").write_text("another\n")
    (tmp_path / "docs/references/stale.md").write_text("gone\n")
    wrong = ["docs/references/a.md", "docs/references/stale.md", "docs/schema/b.json"]
    assert docs.differences() == wrong
    assert not (tmp_path / "docs/schema").exists()
    assert docs.write() == wrong
    assert docs.differences() == []
    assert not (tmp_path / "docs/references/stale.md").exists()


def test_a_catalogue_that_is_not_there_leaves_a_page_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "CATALOGUE", tmp_path / "catalogue.py")
    assert "not there" in docs.catalogue_page()["docs/security-catalogue.md"]


# ── complete ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reference", sorted(REFERENCES))
def test_every_reference_has_a_page(reference: str) -> None:
    text = (ROOT / f"docs/references/{reference}.md").read_text(encoding="utf-8")
    assert text.count(f"# {reference}\n") == 1
    assert f"[{reference}]({reference}.md)" in (ROOT / "docs/references/README.md").read_text(encoding="utf-8")


def test_what_was_written_by_hand_belongs_to_a_reference() -> None:
    assert {path.stem for path in docs.EXTRA.iterdir()} <= set(REFERENCES)


def test_every_field_of_the_policy_is_described_with_an_example() -> None:
    schema = policy_page.whole_schema()
    assert {name for name, _, _ in policy_page.SECTIONS} == {"PolicyDocument", *schema["$defs"]}
    text = GENERATED["docs/policy-reference.md"]
    for name, title, _ in policy_page.SECTIONS:
        section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        for field in policy_page.definition(schema, name)["properties"]:
            assert f"| `{field}` |" in section, f"{name}.{field}"
            assert policy_page.example_of(name, field).startswith(f"{field}: ")


def test_every_field_of_the_audit_line_is_described() -> None:
    for field in FIELDS:
        assert f"| `{field}` |" in GENERATED["docs/audit-line.md"]


def test_the_example_of_the_audit_line_is_one() -> None:
    text = (docs.EXAMPLES / "audit-line.json").read_text(encoding="utf-8").strip()
    jsonschema.validate(json.loads(text), json_schema())
    assert parse(text).verdict == "allowed"
    assert "\n" not in text


def test_every_command_is_described() -> None:
    page, readme = GENERATED["docs/commands.md"], (ROOT / "README.md").read_text(encoding="utf-8")
    for name, command in docs.commands():
        assert f"\n## scopeward {name}\n" in page
        if not isinstance(command, click.Group) or command.invoke_without_command:
            assert f"`scopeward {name}`" in readme


def test_every_setting_is_described() -> None:
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    for field in fields(Settings):
        option = {"policy": "POLICY", "settings_file": "--settings"}.get(field.name, "--" + field.name.replace("_", "-"))
        assert re.search(rf"^\| `{option}\b", page, re.MULTILINE), field.name


def test_every_metric_is_described() -> None:
    names = set(re.findall(r"_(?:gauge|counter)\(\s*\"(\w+)\"", (ROOT / "src/scopeward/ops/metrics.py").read_text(encoding="utf-8")))
    described = set(re.findall(r"^\| `scopeward_(\w+?)(?:_total)?` \|", (ROOT / "docs/metrics.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert names == described
    assert len(names) > 20


# ── true ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_rooms_of_the_architecture_are_those_of_the_source_in_the_order_of_the_layers() -> None:
    tree = next(text for text in blocks(ROOT / "docs/architecture.md", "text") if text.startswith("src/scopeward/"))
    shown = re.findall(r"^  (\S+?)/? +\S", tree, re.MULTILINE)
    there = [p.name for p in (ROOT / "src/scopeward").iterdir() if p.is_dir() and (p / "__init__.py").exists()]
    there += [p.name for p in (ROOT / "src/scopeward").glob("*.py") if p.name != "__init__.py"]
    assert sorted(shown) == sorted(there)
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][0]["layers"]
    height = {room: number for number, layer in enumerate(layers) for room in layer.replace(":", "|").replace(" ", "").split("|")}
    heights = [height[name.removesuffix(".py")] for name in shown]
    assert heights == sorted(heights)


def test_the_filters_of_the_architecture_are_those_of_the_chain() -> None:
    rows = re.findall(r"^\| `(\S+)` \| (slot|listener|ECDS) \|", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(f.name, "slot" if f.off else "ECDS" if f.message else "listener") for f in HTTP_FILTERS]


def test_the_files_that_pages_name_exist() -> None:
    for path in WRITTEN:
        for named in re.findall(r"`((?:src|tests|docs|tools|bench|requirements)/[\w./-]+)`", path.read_text(encoding="utf-8")):
            assert (ROOT / named).exists(), f"{name_of(path)} names {named}"


def test_the_demo_in_the_readme_tells_steps_of_the_story_in_their_order() -> None:
    shown = (ROOT / "README.md").read_text(encoding="utf-8").partition(docs.DEMO_BEGINS)[2].partition(docs.DEMO_ENDS)[0]
    titles = [f"{number}. {step.title}" for number, step in enumerate(STORY, 1)]
    told = [line for line in shown.splitlines() if re.match(r"\d+\. ", line)]
    assert told == [title for title in titles if title.partition(".")[0] in docs.STEPS_SHOWN]
    assert shown.rstrip().endswith("Every step went as told.")
    verdicts = re.findall(r"^   \d\d:\d\d:\d\d\.\d{3}  (allowed|\d{3} \S+)", shown, re.MULTILINE)
    assert verdicts == [step.verdict for step in STORY if step.verdict is not None]


def test_whole_lines_of_the_demo_are_cut_and_none_is_changed() -> None:
    output = "told\npolicy 1 is in force: /x\n\n1. a\n   $ curl\n   200 OK\n\n3. b\n   200 OK\n\n5. c\n   $ curl\n   403 No\n\nThe audit lines (/x):\n\nEvery step went as told.\n"
    shown = docs.demo_shortened(output).splitlines()
    assert shown == ["told", "…", "", "1. a", "   $ curl", "   200 OK", "", "…", "", "5. c", "…", "   403 No", "", "…", "", "Every step went as told."]


ANSWERS: dict[str, Any] = json.loads((ROOT / "tests/security/answers.json").read_text(encoding="utf-8"))
METADATA = re.compile(r'resource_metadata="([^"]*)"')


@pytest.mark.parametrize("reference", [r.id for r in CALL_REFERENCES])
def test_the_challenge_of_a_page_is_that_of_real_answers(reference: str) -> None:
    if reference not in ANSWERS:
        assert (docs.EXTRA / f"{reference}.md").exists() or reference == "gateway-error", "no call gets this answer: say so"
        return
    real = ANSWERS[reference]["www-authenticate"]
    found = METADATA.search(real or "")
    assert docs.challenge_of(REFERENCES[reference], found[1] if found else "", "read.orders") == real


@pytest.mark.parametrize("path", sorted(docs.EXTRA.glob("*.md")), ids=lambda path: path.stem)
def test_an_example_response_says_what_the_registry_says(path: Path) -> None:
    reference = REFERENCES[path.stem]
    for text in blocks(path, "http"):
        head, _, body = text.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in head.splitlines()[1:])
        problem = json.loads(body)
        assert head.startswith(f"HTTP/1.1 {reference.status} ")
        assert fields["scopeward-reference"] == reference.id
        found = METADATA.search(fields.get("www-authenticate", ""))
        assert fields.get("www-authenticate") == docs.challenge_of(reference, found[1] if found else "", "read.orders")
        assert set(problem) - {"needs"} == {"detail", "reference", "remedy", "request_id", "status", "title", "type"}
        if said := ANSWERS.get(reference.id, {}).get("body"):
            assert {**problem, "request_id": said["request_id"]} == said
        assert (problem["detail"], problem["remedy"], problem["title"]) == (reference.cause, reference.remedy, reference.title)


# ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

COMMANDS = dict(docs.commands())
OPTIONS_OF_ALL = {"--help", "-h"}


def called(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each ``scopeward …`` in a text: its command's words, and its options."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for words in re.findall(r"(?:^|[\s`$(/])scopeward((?: +(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s`|;&)\"'<>]+))+)", joined, re.MULTILINE):
        parts = words.split()
        again = [number for number, word in enumerate(parts, 1) if word.rpartition("/")[2] == "scopeward"]  # before it, that was a user or an image
        parts = parts[again[-1] :] if again else parts
        if not parts or not parts[0][0].isalnum():
            continue
        yield " ".join(parts[: 2 if parts[0] in COMMANDS and f"{parts[0]} {parts[1] if len(parts) > 1 else ''}" in COMMANDS else 1]), parts


def commands_in(path: Path) -> Iterator[tuple[str, list[str]]]:
    """In shell blocks, in what was printed, and between backticks."""
    text = path.read_text(encoding="utf-8")
    for block in blocks(path, "sh", "text", "ini"):
        yield from called(block)
    for inline in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        if inline.startswith("scopeward "):
            yield from called(inline)


@pytest.mark.parametrize("path", [p for p in PAGES if name_of(p) != "docs/commands.md"], ids=name_of)
def test_commands_and_options_that_are_named_exist(path: Path) -> None:
    for name, words in commands_in(path):
        if name.endswith(":"):
            continue
        assert name in COMMANDS, f"scopeward {' '.join(words)}"
        known = {opt for param in COMMANDS[name].params for opt in (*param.opts, *param.secondary_opts)} | OPTIONS_OF_ALL
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, f"scopeward {' '.join(words)}"


def test_the_reader_of_commands_sees_commands() -> None:
    text = 'T=$(scopeward token get --client a --no)\nscopeward init --issuer "$X" \\\n    --scope "a b" --output c\nSee `scopeward check`.\n'
    assert [name for name, _ in called(text)] == ["token get", "init", "check"]
    assert [word for _, words in called(text) for word in words if word.startswith("--")] == ["--client", "--no", "--issuer", "--scope", "--output"]
    assert len(list(commands_in(ROOT / "README.md"))) > 20


def test_targets_of_make_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in WRITTEN:
        text = path.read_text(encoding="utf-8")
        named = {target for block in blocks(path, "sh") for target in re.findall(r"^make ([a-z]+)", block, re.MULTILINE)}
        named |= set(re.findall(r"`make ([a-z]+)(?: \w+=\w+)?`", text))
        assert named <= targets, name_of(path)


# ── policies ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def policies() -> Iterator[tuple[str, str]]:
    yield from ((name_of(path), path.read_text(encoding="utf-8")) for path in sorted(docs.EXAMPLES.glob("*.yaml")))
    for path in PAGES:
        shown = [text for text in blocks(path, "yaml", "yml") if re.search(r"^version: 1$", text, re.MULTILINE)]  # not what other programs read
        yield from ((f"{name_of(path)} {number}", text) for number, text in enumerate(shown, 1))


@pytest.mark.parametrize(("name", "text"), list(policies()), ids=[name for name, _ in policies()])
def test_a_policy_that_is_shown_passes_check_without_a_warning(name: str, text: str) -> None:
    loaded = load(text.encode(), name)
    assert isinstance(loaded, Loaded), loaded
    assert without_notes(check(loaded)) == ()


@pytest.mark.parametrize("root", sorted(docs.EXAMPLES.glob("*/scopeward.yaml")), ids=name_of)
def test_a_policy_of_several_files_passes_check_in_all_environments(root: Path) -> None:
    written = read(read_policy(root))
    assert isinstance(written, Written), written
    examined = examine(written)
    assert without_notes(examined.diagnostics) == ()
    assert len(examined.loaded) == 3
    assert {api.team for api in next(iter(examined.loaded.values())).policy.apis} == {"orders", "stock"}


def test_the_policy_of_the_how_to_is_what_init_writes() -> None:
    answers = Answers(
        issuer="http://127.0.0.1:9000",
        audience="api://orders",
        upstream="http://127.0.0.1:7000",
        client="orders-web",
        kind="app",
        scope="read.orders",
        at="/orders",
        name="orders",
        public_url="http://127.0.0.1:8080",
        client_claim="client_id",
    )
    assert next(blocks(ROOT / "docs/how-to/first-api.md", "yaml")) == starter_policy(answers)


# ── links and words ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def anchors(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, heading = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        assert place.exists(), target
        assert not heading or heading in anchors(place), target


# words of the workshop, and places of one machine: whoever reads the pages knows neither
FORBIDDEN = re.compile(r"/work/|/tmp/docs|\bhelper\b|\bcolleague|\bsub-?agent|\bin this session\b|\bissue #|\(#\d+\)|\bTODO\b|\bFIXME\b", re.IGNORECASE)


@pytest.mark.parametrize("path", [*PAGES, *sorted((ROOT / "changelog.d").glob("*.md")), *sorted(docs.EXTRA.glob("*.md"))], ids=name_of)
def test_pages_hold_no_words_of_the_workshop(path: Path) -> None:
    found = FORBIDDEN.search(path.read_text(encoding="utf-8"))
    assert not found, found


def test_lines_of_written_pages_are_of_a_length_that_a_diff_shows() -> None:
    for path in WRITTEN:
        prose = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        long = [line for line in prose.splitlines() if len(line) > 160 and not line.startswith("|")]
        assert not long, f"{name_of(path)}: {long}"
