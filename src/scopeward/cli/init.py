"""``scopeward init``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from scopeward.cli.answers import ISSUER, QUESTIONS, Answers, Question
from scopeward.cli.options import FILE, examples
from scopeward.cli.output import clean, print_diagnostics, say, strong
from scopeward.cli.starter import SCHEMA_FILE, next_steps, starter_policy
from scopeward.errors import ScopewardError
from scopeward.idp.discovery import IssuerMetadata, IssuerMismatchError, fetch_metadata
from scopeward.idp.documents import http_client
from scopeward.idp.keys import fetch_keys
from scopeward.issuer import default_accounts
from scopeward.issuer.accounts import PERSON_SCOPES
from scopeward.policy.schema import json_schema
from scopeward.warden import PolicyError, checked

SCOPES_SHOWN = 12


def _metavar(question: Question) -> str | None:
    """Click shows the choices of a choice by itself."""
    return None if isinstance(question.type, click.Choice) else question.type.name.upper()


def _question_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for question in reversed((ISSUER, *QUESTIONS)):
        command = click.option(question.option, question.name, type=question.type, metavar=_metavar(question), help=question.help)(command)
    return command


@click.command("init")
@examples(
    "scopeward init",
    "scopeward init --issuer http://127.0.0.1:9000 --upstream http://127.0.0.1:7000 --at /orders \\",
    "    --audience https://api.example.test --client orders-web --kind app --scope read.orders",
)
@_question_options
@click.option("--output", type=FILE, default=Path("scopeward.yaml"), show_default=True, help="The policy file to write.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--offline", is_flag=True, help="Do not ask the identity provider.")
def command(output: Path, force: bool, offline: bool, **given: str | None) -> None:
    """Write a first policy for an API and an identity provider.

    On a terminal it asks for what is not given. It reads the provider's discovery document and keys, and writes nothing where these do
    not fit. Beside the policy it writes the schema that editors check it with, .scopeward-schema.json, which it may replace.
    """
    _require_place(output, force=force)
    asking = is_terminal()
    known = {name: value for name, value in given.items() if value is not None}
    if not asking:
        _require_all(known)
    known["issuer"] = known.get("issuer") or click.prompt(ISSUER.asks, type=ISSUER.type, err=True)
    offered: tuple[str, ...] = ()
    if not offline:
        metadata = asyncio.run(_look_up(known["issuer"], asking=asking))
        known["issuer"], offered = metadata.issuer, metadata.scopes_supported
    for question in QUESTIONS:
        known[question.name] = known.get(question.name) or _answer(question, known, offered, asking=asking)
    answers = Answers(**known)
    _write(output, _checked_text(answers, output), force=force)
    say(f"\nwrote {strong(str(output))} and {output.parent / SCHEMA_FILE}\n\n{next_steps(answers, str(output), next(iter(default_accounts().people), None))}")


def _require_place(output: Path, *, force: bool) -> None:
    """Before anything is asked. Errors: ``exists``, ``file-unwritable``."""
    if not force and os.path.lexists(output):
        raise ScopewardError("exists", f"'{output}' exists")
    if not output.parent.is_dir():
        raise ScopewardError("file-unwritable", f"'{output.parent}' is not a directory")


def is_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def _require_all(known: dict[str, str]) -> None:
    """Without a person to ask. Errors: ``usage``, which names every option that is missing."""
    missing = [q.option for q in (ISSUER, *QUESTIONS) if q.name not in known and q.at_prompt_only]
    if missing:
        raise ScopewardError("usage", f"missing: {', '.join(missing)}", "Give these options, or run it on a terminal, where it asks.")


def _answer(question: Question, known: dict[str, str], offered: tuple[str, ...], *, asking: bool) -> str:
    default = question.default(known)
    if not question.at_prompt_only or not asking:
        return default
    if question.name == "scope":
        default = _show_scopes(question, offered)
    answer: str = click.prompt(question.asks, type=question.type, default=default or None, err=True)
    return answer


def _show_scopes(question: Question, offered: tuple[str, ...]) -> str:
    """Print the provider's scopes; returns the first that this policy language takes."""
    scopes = [scope for scope in offered if scope not in PERSON_SCOPES]
    usable = []
    for scope in scopes:
        try:
            usable.append(question.type.convert(scope, None, None))
        except click.BadParameter:
            continue
    if scopes:
        more = ", …" if len(scopes) > SCOPES_SHOWN else ""
        say(f"  the provider offers {clean(', '.join(scopes[:SCOPES_SHOWN]))}{more}", err=True)
    return usable[0] if usable else ""


async def _look_up(issuer: str, *, asking: bool) -> IssuerMetadata:
    """The provider's metadata, its keys looked at and told of. On a terminal a wrong spelling of the issuer can be put right."""
    async with http_client() as client:
        try:
            metadata = await fetch_metadata(issuer, client)
        except IssuerMismatchError as error:
            if not (asking and _agreed(error)):
                raise
            metadata = await fetch_metadata(error.named, client)  # which asks that issuer's own document
        keys = json.loads(await fetch_keys(metadata, client))["keys"]
    algorithms = ", ".join(sorted({key["alg"] for key in keys}))
    say(f"found {strong(metadata.issuer)}: {len(keys)} signing {'key' if len(keys) == 1 else 'keys'} ({algorithms})", err=True)
    return metadata


def _agreed(error: IssuerMismatchError) -> bool:
    say(f"The provider at '{clean(error.asked)}' calls itself '{clean(error.named)}'.", err=True)
    return click.confirm("Use that spelling?", err=True)


def _checked_text(answers: Answers, output: Path) -> bytes:
    """The policy, once it passed what ``check`` would say of it."""
    text = starter_policy(answers).encode()
    try:
        _, warnings = checked(text, str(output))
    except PolicyError as refused:  # its places are in a file that is not there
        raise ScopewardError(refused.reference.id, f"the policy would not pass 'check': {refused.what}", refused.remedy) from None
    print_diagnostics(warnings, err=True)
    return text


def _write(output: Path, text: bytes, *, force: bool) -> None:
    """The schema first: it may be replaced, and a policy is not left without it. Errors: ``exists``, ``file-unwritable``."""
    path = output.parent / SCHEMA_FILE
    try:
        path.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")
        path = output
        with path.open("wb" if force else "xb") as file:
            file.write(text)
    except FileExistsError:
        raise ScopewardError("exists", f"'{output}' exists") from None
    except OSError as error:
        raise ScopewardError("file-unwritable", f"'{path}': {error.strerror}") from None
