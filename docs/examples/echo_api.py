"""An API to try the gateway with: it answers each call with what reached it. Standard library only.

python3 docs/examples/echo_api.py          # on 127.0.0.1:7000
python3 docs/examples/echo_api.py 7001     # on another port
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Echo(BaseHTTPRequestHandler):
    """Method, path and headers of the call, as JSON."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Read the body away and answer."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.dumps({"method": self.command, "path": self.path, "headers": dict(self.headers.items())}, indent=1).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  # the names that http.server calls

    def log_message(self, *_: Any) -> None:
        """Nothing."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 7000
    print(f"an API that echoes, on http://127.0.0.1:{port}", flush=True)
    try:
        ThreadingHTTPServer(("127.0.0.1", port), Echo).serve_forever()
    except KeyboardInterrupt:
        print("ended")
