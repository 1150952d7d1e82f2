"""``scopeward codeowners``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from scopeward.cli.options import examples, settings_options
from scopeward.cli.output import say
from scopeward.errors import ScopewardError
from scopeward.policy.diagnostic import limited
from scopeward.policy.source import Written, read
from scopeward.settings import Settings
from scopeward.warden import PolicyError, read_policy


@click.command("codeowners")
@examples("scopeward codeowners > .github/CODEOWNERS", "scopeward codeowners policies/scopeward.yaml")
@settings_options("policy")
def command(settings: Settings) -> None:
    """Print who owns the policy's files, as a CODEOWNERS file.

    POLICY is the file [SCOPEWARD_POLICY; default: scopeward.yaml]. The command is run in the root of the repository. A team's files are its
    ``owners``' in ``teams``; the policy's own file, and what would be included without being a team's, belong to the ``owners`` of the policy.
    """
    path = settings.policy.value
    bundle = read_policy(path)
    written = read(bundle)
    if not isinstance(written, Written):
        raise PolicyError(limited(written))
    for line in lines(written, folder_of(path), path.name, bundle.folder):
        say(line)


def folder_of(path: Path) -> str:
    """The policy's folder below the current one, with a slash before and after. Errors: ``usage``."""
    here = Path.cwd()
    folder = Path(os.path.normpath(here / path)).parent
    if not folder.is_relative_to(here):
        raise ScopewardError("usage", f"'{path}' is not below the current folder", "Run the command in the root of the repository.")
    return "/" if folder == here else f"/{folder.relative_to(here).as_posix()}/"


def lines(written: Written, folder: str, root: str, shown: str) -> Iterator[str]:
    """The file. Of several lines that match a file the last one counts, so what is nobody's comes first."""
    yield "# Written by 'scopeward codeowners'. Change the policy, then run it again."
    owners = written.owners
    if platform := owners[None]:
        for pattern in (*written.patterns, root):
            yield _line(folder + pattern, platform)
    for team, patterns in written.team_patterns.items():
        yield from (_line(folder + pattern, owners[team]) for pattern in patterns if owners[team])
    for file in written.included:
        if file.team is not None and not written.team_patterns.get(file.team) and owners.get(file.team):
            yield _line(folder + file.name.removeprefix(shown), owners[file.team])


def _line(path: str, owners: tuple[str, ...]) -> str:
    return " ".join([path.replace(" ", "\\ "), *owners])
