"""A small orders API on loopback, for compose.yaml. It takes calls that came through the gateway, and no others."""

from __future__ import annotations

import ssl
from typing import Final

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scopeward.demo.check_pass import CheckPass
from scopeward.demo.orders_api import ORDERS

PUBLIC_URL: Final = "https://localhost:8080"
"""As in scopeward.yaml."""
AUTHORITY: Final = "/certificates/ca.pem"
PORT: Final = 9001


async def answer(request: Request) -> JSONResponse:
    """What was asked for, and who the gateway says is calling."""
    caller = {"client": request.headers.get("x-agw-client-id"), "subject": request.headers.get("x-agw-subject")}
    return JSONResponse({"method": request.method, "path": request.url.path, "orders": ORDERS, "called_by": caller})


async def fetch(url: str) -> bytes:
    """The gateway's keys, over TLS with the certificate that was made for it."""
    trusted = ssl.create_default_context(cafile=AUTHORITY)
    async with httpx2.AsyncClient(verify=trusted, timeout=5.0, trust_env=False, follow_redirects=False) as http:
        return (await http.get(url)).raise_for_status().content


def app() -> CheckPass:
    """The API behind its check."""
    return CheckPass(Starlette(routes=[Route("/{path:path}", answer)]), issuer=PUBLIC_URL, audience=f"{PUBLIC_URL}/orders/v1", fetch=fetch)


if __name__ == "__main__":
    uvicorn.run(app(), host="127.0.0.1", port=PORT, lifespan="off", access_log=False)
