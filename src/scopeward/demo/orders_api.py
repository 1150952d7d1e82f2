"""A small orders API that knows nothing of OAuth: it believes the two headers that the gateway sends, and lets nobody in without its pass."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scopeward.demo.check_pass import CheckPass

ORDERS = {"41": {"id": "41", "item": "garden chair", "amount": 2}, "42": {"id": "42", "item": "desk lamp", "amount": 1}}


def _caller(request: Request) -> dict[str, str | None]:
    return {"client": request.headers.get("x-agw-client-id"), "subject": request.headers.get("x-agw-subject")}


async def _list(request: Request) -> JSONResponse:
    return JSONResponse({"orders": list(ORDERS), "called_by": _caller(request)})


async def _create(request: Request) -> JSONResponse:
    return JSONResponse({"placed": True, "called_by": _caller(request)}, status_code=201)


async def _read(request: Request) -> JSONResponse:
    order = ORDERS.get(request.path_params["order_id"])
    return JSONResponse({**order, "called_by": _caller(request)}) if order else JSONResponse({"error": "no such order"}, status_code=404)


async def _customer(request: Request) -> JSONResponse:
    return JSONResponse({"order": request.path_params["order_id"], "customer": "Dana Doe", "called_by": _caller(request)})


async def _health(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "up"})


def orders_api(issuer: str, audience: str) -> CheckPass:
    """The API behind the gateway of this ``public_url``, where it is known by this resource URL. It refuses calls around the gateway."""
    api = Starlette(
        routes=[
            Route("/", _list, methods=["GET"]),
            Route("/", _create, methods=["POST"]),
            Route("/health", _health),
            Route("/{order_id}", _read),
            Route("/{order_id}/customer", _customer),
        ]
    )
    return CheckPass(api, issuer=issuer, audience=audience)
