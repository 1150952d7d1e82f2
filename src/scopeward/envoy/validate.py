"""Ask Envoy itself: ``--mode validate`` over the inlined snapshot."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scopeward.compile.envoy.filters import revoke
from scopeward.compile.envoy.inline import inline
from scopeward.compile.snapshot import MOST_INDENTED, Snapshot, extension_path
from scopeward.envoy.binary import EnvoyBinary
from scopeward.envoy.bootstrap import layered_runtime
from scopeward.errors import ScopewardError

PATIENCE: Final = 30.0
"""Seconds. A usual validation takes a twentieth of one."""

SHORTEST_SECRET: Final = 4
"""Characters. Replacing less would only make the message unreadable."""

_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_TOKEN: Final = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
"""A JWT, such as a pass (RFC 7519 section 3: its header is a JSON object)."""


async def validate(snapshot: Snapshot, binary: EnvoyBinary) -> None:
    """Errors: ``envoy-rejected`` with Envoy's own words, ``state-unwritable``. A pass is necessary and not sufficient: see ``compile.prove``.

    A large table of revocations is left out: its form was proven, is always the same, and reading it takes Envoy seconds.
    """
    try:
        await _validate(_without_bulk(snapshot), binary)
    except OSError as error:
        raise ScopewardError("state-unwritable", f"'{tempfile.gettempdir()}': {error.strerror}") from None


def _without_bulk(snapshot: Snapshot) -> Snapshot:
    path = extension_path(revoke.SETTLED_FILTER)
    is_large = path in snapshot.files() and len(snapshot.files()[path].text) > MOST_INDENTED
    return snapshot.with_extensions({revoke.SETTLED_FILTER: revoke.settled_table(())}) if is_large else snapshot


async def _validate(snapshot: Snapshot, binary: EnvoyBinary) -> None:
    with tempfile.TemporaryDirectory(prefix="scopeward-") as folder:
        path = Path(folder) / "inline.json"
        path.touch(mode=0o600)  # it holds the secrets too
        path.write_text(json.dumps({**inline(snapshot), "layered_runtime": layered_runtime()}))
        process = await asyncio.create_subprocess_exec(
            binary.path,
            *("--mode", "validate", "-c", str(path), "-l", "error"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                _, said = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise ScopewardError("envoy-rejected", "Envoy did not finish validating") from None
    if process.returncode:
        words = _without_secrets(said.decode(errors="replace"), snapshot).strip()
        raise ScopewardError("envoy-rejected", words[-2_000:] or f"Envoy ended with status {process.returncode}")


def _without_secrets(words: str, snapshot: Snapshot) -> str:
    """Envoy quotes what it does not understand, and some of that is a secret."""
    for secret in _secrets([*snapshot.listeners, *snapshot.clusters, *snapshot.secrets.values()], shown=True):
        # as it is, and as a JSON text that was quoted
        for form in (secret, json.dumps(secret)[1:-1], json.dumps(json.dumps(secret)[1:-1])[1:-1]):
            words = words.replace(form, "***")
    return _TOKEN.sub("***", _KEY.sub("***", words))


def _secrets(value: object, *, shown: bool) -> Iterator[str]:
    """Texts below a private key, a password or a secret."""
    match value:
        case dict():
            for key, inner in value.items():
                yield from _secrets(inner, shown=shown and key not in {"private_key", "password", "generic_secret"})
        case list() | tuple():
            for inner in value:
                yield from _secrets(inner, shown=shown)
        case str() if not shown and len(value) >= SHORTEST_SECRET:
            yield value
