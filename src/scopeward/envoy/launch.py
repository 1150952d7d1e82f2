"""A program of its own: puts Envoy beside the warden instead of below it, so that it lives on where the warden is killed.

Envoy asks the kernel to end it with the thread that started it (``PR_SET_PDEATHSIG``). So what the warden starts is this program; it forks
and ends, and the child becomes Envoy only when that has happened.

1. A session of its own: a Ctrl-C meant for the warden does not reach Envoy.
2. Fork; the parent says the child's process id on its standard output and ends.
3. The child waits for one byte on its standard input. The warden sends it when it has recorded the id. Where the warden is killed before,
   the pipe ends without the byte, and so does the child: no Envoy runs that nobody knows of.
4. The child becomes Envoy: no open files but its log as standard error, a clean environment, as many files as the system lets it have.

Run as a file (``python -I -S launch.py PROGRAM ARGUMENT…``): it imports nothing of the package.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

GO = b"g"


def main(arguments: list[str]) -> int:
    """``arguments`` are Envoy's: the program first. Returns only where it does not become Envoy."""
    os.setsid()
    child = os.fork()
    if child:
        os.write(1, str(child).encode())
        return 0
    if os.read(0, len(GO)) != GO:
        return 1
    _leave_everything_behind()
    os.execve(arguments[0], arguments, {"PATH": os.defpath})  # noqa: S606
    return 1


def _leave_everything_behind() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        return  # macOS has a lower limit of its own; what is in force stays


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
