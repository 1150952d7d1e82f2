"""Processes by more than their number: started beside the warden, watched, and signalled without ever meeting another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from scopeward.envoy import launch as launcher
from scopeward.errors import ScopewardError

POLL_EVERY: Final = 0.2
"""Seconds between two looks at a process, where the system has no pidfd (macOS)."""

LAUNCH_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process: a number is used again, and a start time too after a boot.

    ``start_time`` is in clock ticks since boot (``/proc/PID/stat`` field 22, proc(5)), elsewhere in seconds since the epoch.
    """

    pid: int
    start_time: int
    boot_id: str


def identify(pid: int) -> Identity | None:
    """The process that has this number now; ``None`` where there is none, or only its zombie."""
    started = _started_by_proc(pid) if Path("/proc/self/stat").exists() else _started_by_ps(pid)
    return None if started is None else Identity(pid, started, _boot_id())


def command_line(pid: int) -> tuple[str, ...]:
    """The arguments of a process, the program first; empty where they cannot be read."""
    try:
        return tuple(os.fsdecode(part) for part in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1])
    except OSError:
        return tuple(_ps(pid, "command=").split())


def _started_by_proc(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # the second field is the program's name in parentheses, and may hold spaces and parentheses itself
    state, *rest = stat[stat.rindex(")") + 2 :].split()
    return None if state in {"Z", "X"} else int(rest[18])


def _started_by_ps(pid: int) -> int | None:
    try:
        return int(time.mktime(time.strptime(_ps(pid, "lstart=").strip(), "%a %b %d %H:%M:%S %Y")))
    except ValueError:
        return None


def _ps(pid: int, field: str) -> str:
    try:
        return subprocess.run(["ps", "-o", field, "-p", str(pid)], capture_output=True, text=True, timeout=5, check=False, env={"LC_ALL": "C"}).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""  # elsewhere the start time is an absolute one and says enough


class Process:
    """A process that is watched, by a pidfd where the system has them. Must be made and used in a running event loop."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._ended = asyncio.Event()
        self._pidfd: int | None = None
        self._poll: asyncio.Task[None] | None = None

    @classmethod
    def attach(cls, identity: Identity) -> Self | None:
        """Watch exactly this process; ``None`` where it is gone, whoever has its number now."""
        process = cls(identity)
        try:
            process._pidfd = os.pidfd_open(identity.pid)
        except (AttributeError, NotImplementedError):
            process._pidfd = None
        except OSError:
            if identify(identity.pid) != identity:
                return None
        # opened first and compared afterwards: from here on the pidfd is that of the process that was compared
        if identify(identity.pid) != identity:
            process.release()
            return None
        if process._pidfd is None:
            process._poll = asyncio.create_task(process._look_again_and_again())
        else:
            asyncio.get_running_loop().add_reader(process._pidfd, process._note_end)
        return process

    @property
    def ended(self) -> bool:
        """Whether it has ended, as far as was noticed."""
        return self._ended.is_set()

    async def wait(self, patience: float | None = None) -> bool:
        """Until it ends, at most ``patience`` seconds; whether it ended."""
        try:
            async with asyncio.timeout(patience):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            elif identify(self.identity.pid) == self.identity:
                os.kill(self.identity.pid, number)

    def release(self) -> None:
        """Stop watching. The process goes on."""
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _note_end(self) -> None:
        self._ended.set()
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.identity.pid, os.WNOHANG)  # orphans become children of a warden that is the first process of a container

    async def _look_again_and_again(self) -> None:
        while identify(self.identity.pid) == self.identity:  # noqa: ASYNC110  # nobody would set an event
            await asyncio.sleep(POLL_EVERY)
        self._note_end()


async def launch(command: Sequence[str], log: Path, known: Callable[[Identity], None]) -> Process:
    """Start ``command`` as a process that is nobody's child. ``known`` is called before it begins; where it raises, nothing begins.

    Its standard error goes to ``log``. Errors: ``envoy-not-started``, and what ``known`` raises.
    """
    go_read, go_write = os.pipe()
    told_read, told_write = os.pipe()
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        try:
            await _run_launcher(command, go_read, told_write, errors)
        finally:
            for descriptor in (go_read, told_write, errors):
                os.close(descriptor)
        process = _attach_told(os.read(told_read, 32))
        try:
            known(process.identity)
            os.write(go_write, launcher.GO)
        except BaseException as error:
            process.release()
            if isinstance(error, BrokenPipeError):
                raise ScopewardError("envoy-not-started", "the process ended before it became Envoy") from None
            raise
        return process
    finally:
        os.close(go_write)
        os.close(told_read)


async def _run_launcher(command: Sequence[str], stdin: int, stdout: int, stderr: int) -> None:
    starter = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", launcher.__file__, *command), stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=False
    )
    try:
        async with asyncio.timeout(LAUNCH_PATIENCE):
            await starter.wait()
    except TimeoutError:
        starter.kill()
        await starter.wait()
    if starter.returncode:
        raise ScopewardError("envoy-not-started", f"the launcher ended with status {starter.returncode}")


def _attach_told(said: bytes) -> Process:
    found = re.fullmatch(rb"[0-9]+", said)
    identity = identify(int(said)) if found else None
    process = None if identity is None else Process.attach(identity)
    if process is None:
        raise ScopewardError("envoy-not-started", "the process ended before it became Envoy")
    return process
