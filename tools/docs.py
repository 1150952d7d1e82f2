"""Write the generated pages of the documentation, or say which differ.

    python tools/docs.py            write them
    python tools/docs.py --check    exit 1 if anything on disk differs
    python tools/docs.py --demo     run the demo and put its output, shortened, into README.md

Each generator returns the texts of its pages by path below the repository, so that the tests can compare without writing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import yaml
from click.testing import CliRunner

from scopeward import audit_line
from scopeward.cli import COMMANDS, cli
from scopeward.errors import CALL_REFERENCES, COMMAND_REFERENCES, DOCS, POLICY_REFERENCES, REFERENCES, Reference
from scopeward.policy import schema as policy_schema

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "docs/examples"
EXTRA = ROOT / "docs/references/extra"
CATALOGUE = ROOT / "tests/security/catalogue.py"
NOTE = "<!-- Written by tools/docs.py. Change what it is made from, then run it again. -->\n\n"

Pages = dict[str, str]


# ── references ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

GROUPS: tuple[tuple[str, str, tuple[Reference, ...]], ...] = (
    ("Refused calls", "What a caller gets, in the header `scopeward-reference` and in the body.", CALL_REFERENCES),
    ("Policies", "What `scopeward check` says of a policy, with line and column.", POLICY_REFERENCES),
    ("Commands", "What a command of `scopeward` ends with.", COMMAND_REFERENCES),
)


def references() -> Pages:
    """A page for each reference, and their index."""
    pages = {f"docs/references/{r.id}.md": reference_page(r, group) for group, _, members in GROUPS for r in members}
    return {**pages, "docs/references/README.md": reference_index()}


def reference_page(reference: Reference, group: str) -> str:
    """One reference: what it means, what it looks like, what to do, and what somebody wrote by hand."""
    rows = [("Kind", group[:-1])]
    if reference.status is not None:
        challenge = challenge_of(reference)
        rows += [("Status", str(reference.status)), ("`WWW-Authenticate`", f"`{challenge}`" if challenge else "none")]
        rows.append(("`type` of the problem", f"`{DOCS}{reference.id}`"))
    extra = EXTRA / f"{reference.id}.md"
    return (
        f"{NOTE}# {reference.id}\n\n**{reference.title}.** {_code(reference.cause)}\n\n{table(('', ''), rows)}\n"
        f"## What to do\n\n{_code(reference.remedy)}\n"
        + (f"\n{extra.read_text(encoding='utf-8').strip()}\n" if extra.exists() else "")
        + "\n[All references](README.md)\n"
    )


def challenge_of(reference: Reference, metadata: str = "…", scope: str = "…") -> str | None:
    """RFC 6750 section 3 and RFC 9728 section 5.1, as the gateway's answers have it. A test compares it with real answers."""
    address = f'resource_metadata="{metadata}"'
    match reference.challenge:
        case "none":
            return None
        case "bare":
            return f"Bearer {address}"
        case "invalid_token":
            return f'Bearer error="invalid_token", error_description="{reference.title}", {address}'
        case "insufficient_scope":
            return f'Bearer error="insufficient_scope", error_description="{reference.title}", scope="{scope}", {address}'


def reference_index() -> str:
    """All references in three tables."""
    parts = [f'{NOTE}# References\n\nEvery "no" has a reference: a stable name, with its page here.\n']
    for group, says, members in GROUPS:
        if members is CALL_REFERENCES:
            rows = [(f"[{r.id}]({r.id}.md)", str(r.status), _code(r.cause)) for r in members]
            parts.append(f"## {group}\n\n{says}\n\n{table(('Reference', 'Status', 'Cause'), rows)}")
        else:
            parts.append(f"## {group}\n\n{says}\n\n{table(('Reference', 'Cause'), [(f'[{r.id}]({r.id}.md)', _code(r.cause)) for r in members])}")
    return "\n".join(parts)


# ── the policy ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

SECTIONS: tuple[tuple[str, str, str], ...] = (
    ("PolicyDocument", "The file", ""),
    ("IssuerEntry", "An issuer", "issuers.NAME"),
    ("PersonEntry", "What proves a person", "issuers.NAME.person"),
    ("TrustsEntry", "Trust", "trust"),
    ("TrustEntry", "A lifetime", "trust.internal, trust.external"),
    ("DefaultsEntry", "Defaults", "defaults"),
    ("SendsEntry", "Headers for upstreams", "defaults.sends"),
    ("ScopeEntry", "A scope", "scopes.NAME"),
    ("ClientEntry", "A client", "clients.NAME"),
    ("ApiEntry", "An API", "apis.NAME"),
    ("UpstreamEntry", "An upstream", "apis.NAME.upstream"),
    ("RuleEntry", "A rule", "apis.NAME.rules.OPERATION"),
)
"""Each mapping of the policy: the model's name, what it is called here, and where it stands in the file."""

RULES_OF_FORM = """\
A policy is one YAML file. Unknown keys, keys given twice, anchors, aliases and tags are errors. A value without quotes is text, also `ON` and `012345`.
Names are letters, digits, `.`, `_` and `-`. Durations are a whole number with a unit: `30s`, `15m`, `12h`, `1d`.
"""

WORDS_OF_PATTERNS: Mapping[str, str] = {
    r"^[0-9]{1,7}(s|m|h|d)$": "duration",
    r"^[0-9]{1,7}(ms|s|m|h|d)$": "duration",
    "^https?://[^/?#@]+(/[^?#]*)?$": "URL",
    "^https?://[^/?#@]+/?$": "URL without a path",
    "^/([^/]+(/[^/]+)*)?$": "path",
}


def policy_reference() -> Pages:
    """Every field of the policy, from the models that read it."""
    schema = policy_schema.json_schema()
    every_field = (EXAMPLES / "every-field.yaml").read_text(encoding="utf-8")
    parts = [
        f"{NOTE}# Policy reference\n",
        RULES_OF_FORM,
        "`scopeward check` says what is wrong and where; `scopeward schema` prints the [JSON schema](schema/policy.json) for editors.\n",
        f"A policy that uses every key ([file](examples/every-field.yaml)):\n\n```yaml\n{every_field}```\n",
    ]
    for name, title, place in SECTIONS:
        parts.append(_section(schema, name, title, place))
    return {"docs/policy-reference.md": "\n".join(parts) + "\n" + MEANING}


def definition(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The schema of a mapping by its model's name."""
    found: Mapping[str, Any] = schema if name == "PolicyDocument" else schema["$defs"][name]
    return found


def _section(schema: Mapping[str, Any], name: str, title: str, place: str) -> str:
    entry = definition(schema, name)
    required = set(entry.get("required", ()))
    rows = [
        (
            f"`{field}`",
            type_in_words(about),
            "needed" if field in required else default_in_words(about),
            _code(description_of(about, schema)),
            f"`{example_of(name, field)}`",
        )
        for field, about in entry["properties"].items()
    ]
    where = f"`{place}`. " if place else ""
    return f"## {title}\n\n{where}{_code(entry['description'])}\n\n{table(('Key', 'Type', 'Default', 'What it says', 'Example'), rows)}"


def description_of(about: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A field's own words; pydantic leaves them out where they are those of the mapping that it refers to."""
    own: str | None = about.get("description")
    return own or str(definition(schema, about["$ref"].rpartition("/")[2])["description"])


def type_in_words(about: Mapping[str, Any]) -> str:
    """A field's JSON schema in a few words."""
    words = _type(about)
    if words is None:
        raise ValueError(f"no words for {dict(about)!r}")
    return words


def _type(about: Mapping[str, Any]) -> str | None:
    if "$ref" in about:
        name = about["$ref"].rpartition("/")[2]
        return f"[mapping](#{anchor(next(title for model, title, _ in SECTIONS if model == name))})"
    if "const" in about:
        return f"`{about['const']}`"
    if "enum" in about:
        return " or ".join(f"`{choice}`" for choice in about["enum"])
    if "anyOf" in about:
        return _one_or_many(about["anyOf"])
    if about.get("pattern") in WORDS_OF_PATTERNS:
        return WORDS_OF_PATTERNS[about["pattern"]]
    inner = next(iter(about.get("patternProperties", {}).values()), None) or about.get("additionalProperties")
    if about.get("type") == "object" and isinstance(inner, dict):
        return f"name → {_type(inner)}"
    return {"boolean": "`true` or `false`", "string": "text", "array": "list"}.get(about["type"]) if isinstance(about.get("type"), str) else "text"


def _one_or_many(forms: Iterable[Mapping[str, Any]]) -> str:
    given = list(forms)
    if any(form.get("type") == "array" for form in given):
        return "name or list of names"
    return " or ".join("`null`" if form.get("type") == "null" else str(_type(form)) for form in given)


def default_in_words(about: Mapping[str, Any]) -> str:
    """``-`` where a field that is left out means nothing by itself."""
    default = about.get("default")
    if default is None or isinstance(default, dict):
        return "-"
    return f"`{_flow(default)}`"


def example_of(model: str, field: str) -> str:
    """``key: value`` from the first example file that uses the field. Errors: ``LookupError`` where none does."""
    for path in sorted(EXAMPLES.glob("*.yaml"), key=lambda p: (p.name != "every-field.yaml", p.name)):
        for found_model, entry in entries_of(yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)):  # noqa: S506  # BaseLoader makes text only
            if found_model == model and field in entry:
                return _shown(field, entry[field])
    raise LookupError(f"no example in {EXAMPLES} uses {model}.{field}")


def _shown(field: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"{field}: {{…}}"
    return f"{field}: {_flow(value)}"


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return json.dumps(text) if re.search(r"[:#{}\[\],&*!|>'\"%@` ]", text) and not text.startswith("http") else text


def entries_of(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping of an example, with the name of its model."""
    yield "PolicyDocument", document
    for issuer in document.get("issuers", {}).values():
        yield "IssuerEntry", issuer
        if "person" in issuer:
            yield "PersonEntry", issuer["person"]
    if "trust" in document:
        yield "TrustsEntry", document["trust"]
        yield from (("TrustEntry", trust) for trust in document["trust"].values())
    if "defaults" in document:
        yield "DefaultsEntry", document["defaults"]
        if "sends" in document["defaults"]:
            yield "SendsEntry", document["defaults"]["sends"]
    yield from (("ScopeEntry", scope) for scope in document.get("scopes", {}).values())
    yield from (("ClientEntry", client) for client in document.get("clients", {}).values())
    for api in document["apis"].values():
        yield "ApiEntry", api
        if isinstance(api["upstream"], dict):
            yield "UpstreamEntry", api["upstream"]
        yield from (("RuleEntry", rule) for rule in api["rules"].values())


MEANING = """
## What it means

- **Operations.** A rule's key is a method, a space and a path below the API's `at`: `GET /{id}`. `/` is `at` itself, `{name}` is one segment that
  is not empty, `**` at the end is any number of segments, none included. Methods are GET, HEAD, POST, PUT, PATCH and DELETE. HEAD follows GET where
  it has no rule of its own. A trailing slash makes another path.
- **Which rule.** The path picks the most specific template over all methods, segment by segment from the left: a literal before `{name}` before
  `**`. Another method on that template is refused unless it has a rule there.
- **Which API.** The longest `at` that the path begins with, segment by segment.
- **Who calls.** By an `app`: the person whom the token speaks for. By a `service` or an `agent`: that client, for the person if the token speaks
  for one. A client that is not listed is refused; with `unlisted_clients: as_person` a person's token by it is the person's.
- **Person.** A token speaks for a person only where the issuer's `person` proves it. Everything else speaks for its client.
- **Scopes.** A rule needs all of `needs`: each must be in the token (`scope` or `scp`, as words of a text or as an array) and, where the client has
  `may`, in `may`.
- **Audience.** Compared as Envoy does: without `http://` or `https://` in front and without one slash at the end.
- **Public.** A public rule asks for no token, and its upstream gets no identity headers.
- **Lifetime.** `over: refuse` refuses a token whose `exp` minus `iat` is more than `lifetime`; `over: report` changes nothing for the call: the audit
  line holds `iat` and `exp`.

Not part of the language yet: several issuers, environments, includes and teams, roles, conditions, dates, limits, guardrails, tests, upstream
credentials. An unknown key is an error, so a policy never says more than the gateway does.
"""


# ── the audit line ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def audit_page() -> Pages:
    """Every field of the audit line, with a real line."""
    text = (EXAMPLES / "audit-line.json").read_text(encoding="utf-8").strip()
    line, raw = audit_line.parse(text), json.loads(text)
    meant = [
        ("verdict", line.verdict, "`allowed` where a rule let the call through, also if the upstream then failed; else `refused`."),
        ("chain", str(line.chain), "Who acts for whom, the current actor first."),
        ("api", line.api, "From `route`."),
        ("operation", line.operation, "From `route`."),
        ("policy_version", line.policy_version, "From `route`."),
        ("rule", line.rule, "From `decision`."),
        ("scopes_used", " ".join(line.scopes_used), "From `decision`: what the rule asked for."),
        ("client", line.client, "From `who`: the client's name in the policy."),
        ("issuer", line.issuer, "From `who`: the issuer's name in the policy."),
    ]
    return {
        "docs/audit-line.md": (
            f"{NOTE}# The audit line\n\nOne JSON object a call, version {audit_line.VERSION}, written by Envoy to a file in the state directory's `audit` folder, "
            "at most 200 ms after the call ended. Every field is in every line; what is not known is `null`. Values that callers choose are escaped by "
            "Envoy, so they can neither end a line nor pose as a field. No token is in it.\n\n"
            "The line is [compact and raw](adr/0006-reference-header-and-audit-line.md): `scopeward.audit_line.parse` reads it as it is meant. "
            "[JSON schema](schema/audit-line-v1.json). [Recipes with jq](how-to/debug-a-denial.md#recipes).\n\n"
            f"{table(('Field', 'What it holds', 'In the example'), [(f'`{f}`', _code(says), _value(raw[f])) for f, says in audit_line.FIELDS.items()])}\n"
            f"The example ([file](examples/audit-line.json)), one line in the log:\n\n```json\n{text}\n```\n\n## What it means\n\n"
            f"What `parse` reads out of it, beside the fields as they are:\n\n{table(('', 'In the example', ''), [(f'`{n}`', _value(v), s) for n, v, s in meant])}\n"
            "The gateway's own start calls `/.well-known/scopeward-probe` once; that call has a line too.\n\n"
            "In this version the files are not sealed, rolled or deleted: see [Operate](how-to/operate.md).\n"
        )
    }


def _value(value: object) -> str:
    return "null" if value is None else f"`{value}`".replace("|", "\\|")


# ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by its words, groups before what is in them."""
    for place in COMMANDS:
        command = place.load()
        yield place.name, command
        if isinstance(command, click.Group):
            yield from ((f"{place.name} {name}", inner) for name, inner in command.commands.items())


def commands_page() -> Pages:
    """The help of every command, as it is printed."""
    parts = [f"{NOTE}# Commands\n", f"```text\n{help_of('')}```\n"]
    parts += [f"## scopeward {name}\n\n```text\n{help_of(name)}```\n" for name, _ in commands()]
    return {"docs/commands.md": "\n".join(parts)}


def help_of(name: str) -> str:
    """What ``scopeward NAME --help`` prints, 100 columns wide."""
    shown = CliRunner().invoke(cli, [*name.split(), "--help"], terminal_width=100)
    if shown.exit_code:
        raise RuntimeError(f"scopeward {name} --help ends with {shown.exit_code}")
    return shown.stdout


# ── the security catalogue ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def catalogue_page() -> Pages:
    """The catalogue of attacks, with the files that test each row."""
    rows = catalogue()
    head = f"{NOTE}# Security catalogue\n\nAttacks that gateways of this kind have seen, each with its test. "
    if rows is None:
        return {"docs/security-catalogue.md": f"{head}The table comes with `tests/security/catalogue.py`, which is not there.\n"}
    tests = tests_by_row()
    tested = sum(row.tested for row in rows.values())
    return {
        "docs/security-catalogue.md": (
            f"{head}{tested} of {len(rows)} rows are tested, against the real Envoy; a row that is not names the part with which it comes.\n\n"
            + table(("", "Attack", "Tested in"), [(f"T{number:02}", _code(row.title), _tested_in(row, tests.get(number, []))) for number, row in rows.items()])
        )
    }


def catalogue() -> Mapping[int, Any] | None:
    """``CATALOGUE`` of ``tests/security/catalogue.py``, or ``None`` where the file is not there."""
    if not CATALOGUE.exists():
        return None
    spec = importlib.util.spec_from_file_location("scopeward_security_catalogue", CATALOGUE)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    rows: Mapping[int, Any] = module.CATALOGUE
    return rows


def tests_by_row() -> dict[int, list[str]]:
    """Which test files hold functions named after which row."""
    found: dict[int, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for number in re.findall(r"^(?:async )?def test_T(\d\d)_", path.read_text(encoding="utf-8"), re.MULTILINE):
            found.setdefault(int(number), set()).add(path.relative_to(ROOT).as_posix())
    return {number: sorted(paths) for number, paths in found.items()}


def _tested_in(row: Any, paths: list[str]) -> str:
    if not row.tested:
        return f"not yet; comes with {row.room}"
    return ", ".join(f"[{Path(path).name}](../{path})" for path in paths) or "no test of its name"


# ── schemas ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def schemas() -> Pages:
    """The JSON schemas of the policy and of the audit line."""
    made = {"policy.json": policy_schema.json_schema(), f"audit-line-v{audit_line.VERSION}.json": audit_line.json_schema()}
    return {f"docs/schema/{name}": json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in made.items()}


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

GENERATORS: tuple[Callable[[], Pages], ...] = (references, policy_reference, audit_page, commands_page, catalogue_page, schemas)
OWNED = ("docs/references/*.md", "docs/schema/*.json")
"""Where every file is a generated one."""


def pages() -> Pages:
    """All generated pages."""
    return {path: text for generate in GENERATORS for path, text in generate().items()}


def differences() -> list[str]:
    """The paths that are missing, differ, or should not be there."""
    wanted = pages()
    wrong = [path for path, text in wanted.items() if not (ROOT / path).exists() or (ROOT / path).read_text(encoding="utf-8") != text]
    return sorted([*wrong, *_left_over(wanted)])


def _left_over(wanted: Mapping[str, str]) -> list[str]:
    there = (path.relative_to(ROOT).as_posix() for pattern in OWNED for path in ROOT.glob(pattern))
    return [path for path in there if path not in wanted]


def write() -> list[str]:
    """Bring the disk in line; returns what changed."""
    wanted, changed = pages(), differences()
    for path in changed:
        place = ROOT / path
        if path not in wanted:
            place.unlink()
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(wanted[path], encoding="utf-8")
    return changed


# ── the demo's output in the README ─────────────────────────────────────────────────────────────────────────────────────────────────

DEMO_BEGINS, DEMO_ENDS = "<!-- demo: written by 'tools/docs.py --demo' -->\n```text\n", "```\n<!-- demo ends -->"
STEPS_SHOWN = ("1", "2", "5", "6", "7", "9")
CUT = "…"


def demo_shortened(output: str) -> str:
    """The demo's output with whole lines cut; each run of cut lines is one line with the mark. Lines that stay are as printed."""
    shown: list[str] = []
    step = "0"
    for line in output.splitlines():
        if found := re.match(r"(\d+)\. ", line):
            step = found[1]
        shown.append(line if not line or _stays(line, step) else CUT)
    return re.sub(rf"{CUT}\n(\n*{CUT}\n)+", f"{CUT}\n", "\n".join(shown) + "\n")


def _stays(line: str, step: str) -> bool:
    if re.match(r"   \d\d:\d\d:\d\d", line) or line == "Every step went as told.":
        return True
    if step not in ("0", *STEPS_SHOWN) or "is in force: " in line or line.startswith(("The audit lines", "The last one", '   {"')):
        return False
    return not line.startswith("   $ ") or step in ("1", "2")


def put_demo(output: str) -> None:
    """Replace the block in README.md."""
    readme = ROOT / "README.md"
    before, begins, rest = readme.read_text(encoding="utf-8").partition(DEMO_BEGINS)
    _, ends, after = rest.partition(DEMO_ENDS)
    if not begins or not ends:
        raise LookupError("README.md has no place for the demo's output")
    readme.write_text(before + begins + demo_shortened(output) + ends + after, encoding="utf-8")


def run_demo() -> str:
    """The demo's output, on ports 8080, 9000 and 9001 where they are free."""
    with tempfile.TemporaryDirectory(prefix="scopeward-") as folder:
        words = [sys.executable, "-m", "scopeward", "demo", "--once", "--state-dir", folder]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout


# ── markdown ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table. Bars inside cells must be escaped already where they stand in code."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(lines) + "\n"


def anchor(heading: str) -> str:
    """The anchor that renderers give a heading."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def _code(text: str) -> str:
    """The registry's quotes as code: 'scopeward init' → `scopeward init`."""
    return re.sub(r"(?<![\w])'([^'\n]+)'(?!\w)", lambda found: f"`{found[1]}`", text).replace("|", "\\|")


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python tools/docs.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything differs")
    what.add_argument("--demo", action="store_true", help="run the demo and put its output into README.md")
    arguments = parser.parse_args()
    if arguments.demo:
        put_demo(run_demo())
        return 0
    changed = differences() if arguments.check else write()
    for path in changed:
        print(f"{'differs' if arguments.check else 'wrote'}: {path}")
    if arguments.check and changed:
        print("run 'make docs'", file=sys.stderr)
        return 1
    return 0


__all__ = ["REFERENCES", "differences", "pages", "write"]

if __name__ == "__main__":
    sys.exit(main())
