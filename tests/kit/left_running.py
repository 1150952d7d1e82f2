"""A warden as a process of its own, which a test kills: starts a node on the least snapshot, says so, and waits.

python -m tests.kit.left_running STATE_DIR PORT [refuse]
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from scopeward.envoy.node import Node
from scopeward.envoy.place import Listen, Place
from scopeward.envoy.state_dir import StateDir
from tests.kit.compiling import JWKS
from tests.kit.gateway import envoy
from tests.kit.small import StoppedClock, building

KEYS = JWKS


async def main(folder: str, port: str, *also: str) -> None:
    state = StateDir(Path(folder))
    state.lock()
    node = Node(state, envoy(), Place(Listen("127.0.0.1", int(port))), StoppedClock(), concurrency=1)
    await node.put(building(keys=KEYS, revoked=["t"]))
    if "refuse" in also:
        await node.refuse()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
