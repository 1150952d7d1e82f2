"""How much of the machine Envoy may use."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Final

MOST_HEAP: Final = 2 << 30
MOST_CONNECTIONS: Final = 20_000
SHARE_OF_FILES: Final = 0.8
"""Of the files that Envoy may have open: what callers' connections may take. The rest is for upstreams, logs and files."""

_CGROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def default_heap(cgroups: tuple[str, ...] = _CGROUP_LIMITS) -> int:
    """Bytes: half of what the machine has, or of what the container may use where that is less; at most 2 GiB."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(MOST_HEAP, min([machine, *_limits(cgroups)]) // 2)


def most_connections() -> int:
    """Callers' connections that Envoy takes at a time: what the files it may open leave room for."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)  # Envoy starts with the hard limit
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, int(files * SHARE_OF_FILES))


def _limits(paths: tuple[str, ...]) -> list[int]:
    found = []
    for path in paths:
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal() and int(text) > 0:  # "max" is no limit
            found.append(int(text))
    return found
