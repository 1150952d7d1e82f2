"""Write the generated pages of the documentation, or say which differ.

    python -m tools.docs            write them
    python -m tools.docs --check    exit 1 if anything on disk differs
    python -m tools.docs --demo     run the demo and put its output, shortened, into README.md

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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from scopeward import audit_line
from scopeward.cli import COMMANDS, cli
from scopeward.errors import CALL_REFERENCES, COMMAND_REFERENCES, DOCS, POLICY_REFERENCES, REFERENCES, Reference
from scopeward.policy import schema as policy_schema
from tools.markdown import EXAMPLES, NOTE, ROOT, Pages, code, table
from tools.policy_page import policy_reference

EXTRA = ROOT / "docs/references/extra"
CATALOGUE = ROOT / "tests/security/catalogue.py"


# ── references ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Group:
    """References of one kind: how one of them is called, all of them, and where they are met."""

    one: str
    all: str
    says: str
    members: tuple[Reference, ...]


GROUPS: tuple[Group, ...] = (
    Group("refused call", "Refused calls", "What a caller gets, in the header `scopeward-reference` and in the body.", CALL_REFERENCES),
    Group("policy", "Policies", "What `scopeward check` says of a policy, with line and column.", POLICY_REFERENCES),
    Group("command or node", "Commands and nodes", "What a command of `scopeward` ends with, or what a running node warns of.", COMMAND_REFERENCES),
)


def references() -> Pages:
    """A page for each reference, and their index."""
    pages = {f"docs/references/{r.id}.md": reference_page(r, group) for group in GROUPS for r in group.members}
    return {**pages, "docs/references/README.md": reference_index()}


def reference_page(reference: Reference, group: Group) -> str:
    """One reference: what it means, what it looks like, what to do, and what somebody wrote by hand."""
    rows = [("Said of", group.one)]
    if reference.status is not None:
        challenge = challenge_of(reference)
        rows += [("Status", str(reference.status)), ("`WWW-Authenticate`", f"`{challenge}`" if challenge else "none")]
        rows.append(("`type` of the problem", f"`{DOCS}{reference.id}`"))
    extra = EXTRA / f"{reference.id}.md"
    return (
        f"{NOTE}# {reference.id}\n\n**{reference.title}.** {code(reference.cause)}\n\n{table(('', ''), rows)}\n"
        f"## What to do\n\n{code(reference.remedy)}\n"
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
    for group in GROUPS:
        rows: list[tuple[str, ...]] = [(f"[{r.id}]({r.id}.md)", str(r.status), code(r.cause)) for r in group.members]
        head: tuple[str, ...] = ("Reference", "Status", "Cause")
        if group.members is not CALL_REFERENCES:
            rows, head = [(link, cause) for link, _, cause in rows], ("Reference", "Cause")
        parts.append(f"## {group.all}\n\n{group.says}\n\n{table(head, rows)}")
    return "\n".join(parts)


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
            f"{table(('Field', 'What it holds', 'In the example'), [(f'`{f}`', code(says), _value(raw[f])) for f, says in audit_line.FIELDS.items()])}\n"
            f"The example ([file](examples/audit-line.json)), one line in the log:\n\n```json\n{text}\n```\n\n## What it means\n\n"
            f"What `parse` reads out of it, beside the fields as they are:\n\n{table(('', 'In the example', ''), [(f'`{n}`', _value(v), s) for n, v, s in meant])}\n"
            "The warden calls `/.well-known/scopeward-probe` without a token to see the chain refuse it: when Envoy starts, and when `/readyz` is asked. "
            "Those calls have lines too.\n\n"
            "There is a file for each start of Envoy. None is sealed, rolled or deleted: see [Operate](how-to/operate.md#audit-files).\n"
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
            + table(("", "Attack", "Tested in"), [(f"T{number:02}", code(row.title), _tested_in(row, tests.get(number, []))) for number, row in rows.items()])
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
    """The JSON schemas of the policy, of a file that it includes, and of the audit line."""
    included = policy_schema.included_json_schema()
    made = {"policy.json": policy_schema.json_schema(), "policy-included.json": included, f"audit-line-v{audit_line.VERSION}.json": audit_line.json_schema()}
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
STEPS_SHOWN = ("1", "2", "5", "6", "7", "9", "10", "11")
COMMANDS_SHOWN = ("1", "2", "10")
"""Of those, whose commands are shown too."""
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
    return not line.startswith("   $ ") or step in COMMANDS_SHOWN


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


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
