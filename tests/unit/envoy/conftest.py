from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def running_on(folder: Path) -> dict[int, str]:
    """Processes that were started on a path below the folder, by id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in line:
                found[int(entry.name)] = line
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_running(tmp_path: Path) -> Iterator[None]:
    """An Envoy that outlives its test is a failure of the test."""
    yield
    end = time.monotonic() + 3.0
    while (left := running_on(tmp_path)) and time.monotonic() < end:
        time.sleep(0.01)  # one that was just ended is there for a moment
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
