"""Ask Envoy itself: ``--mode validate`` over the inlined snapshot."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from scopeward.compile.envoy.inline import inline
from scopeward.compile.snapshot import Snapshot
from scopeward.envoy.binary import EnvoyBinary
from scopeward.envoy.bootstrap import layered_runtime
from scopeward.errors import ScopewardError

PATIENCE = 30.0
"""Seconds. A usual validation takes a twentieth of one."""


async def validate(snapshot: Snapshot, binary: EnvoyBinary) -> None:
    """Errors: ``envoy-rejected`` with Envoy's own words. A pass is necessary and not sufficient: see ``compile.prove``."""
    with tempfile.TemporaryDirectory(prefix="scopeward-") as folder:
        path = Path(folder) / "inline.json"
        path.write_text(json.dumps({**inline(snapshot), "layered_runtime": layered_runtime()}))
        process = await asyncio.create_subprocess_exec(
            binary.path,
            *("--mode", "validate", "-c", str(path), "-l", "error"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await asyncio.wait_for(process.communicate(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise ScopewardError("envoy-rejected", "Envoy did not finish validating") from None
    if process.returncode:
        raise ScopewardError("envoy-rejected", said.decode(errors="replace").strip()[-2_000:] or f"Envoy ended with status {process.returncode}")
