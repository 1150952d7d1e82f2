"""A WSGI application that says what it was handed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    """PEP 3333: texts are latin-1 of the bytes on the wire, which in a path are UTF-8."""
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "surrogateescape")
    headers = {k: v for k, v in environ.items() if k.startswith("HTTP_")}
    said = {"paths": {"gunicorn RAW_URI": environ["RAW_URI"].partition("?")[0], "gunicorn PATH_INFO": path}, "headers": headers}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(said).encode()]
