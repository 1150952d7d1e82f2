"""A warden in this process, which follows a policy file and looks at the issuers' keys as often as a test likes."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from scopeward.app import end_all, running
from scopeward.envoy.place import Listen, Place
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError
from scopeward.idp.documents import http_client
from scopeward.warden import Prepared, Warden, read_policy
from scopeward.warden.tasks import TASKS, keep_keys, keep_policy
from tests.kit.gateway import envoy, free_port


class RunningWarden:
    """Starts a node on the policy at ``path``; ``told`` is what came of each edit."""

    def __init__(self, folder: Path, path: Path, keys_every: float) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.told: list[Prepared | ScopewardError] = []
        self.folder = folder
        self._path, self._keys_every = path, keys_every
        self._ready: Future[None] = Future()
        self._ending = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(timeout=60)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        try:
            async with http_client() as http, running(StateDir(self.folder), envoy(), Place(Listen("127.0.0.1", self.port)), http, concurrency=1) as warden:
                self.warden = warden
                await warden.start(read_policy(self._path), self._path)
                self._ready.set_result(None)
                await self._keep(warden)
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _keep(self, warden: Warden) -> None:
        others = [task(warden) for task in TASKS if task is not keep_keys]
        works = (keep_policy(warden, self._path, self.told.append), keep_keys(warden, self._keys_every), *others, self._ending.wait())
        tasks = [asyncio.ensure_future(work) for work in works]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await end_all(tasks)
