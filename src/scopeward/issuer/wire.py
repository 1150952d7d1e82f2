"""Between HTTP and the protocol: a form's parameters out of a request, a ``Reply`` into a response."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from scopeward.issuer.parameters import LARGEST_FORM, ParameterError, read_parameters
from scopeward.issuer.server import Reply

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


async def read_form(request: Request) -> Mapping[str, str]:
    """The body's parameters. Parameters in the URL are refused, since URLs are logged (RFC 6749 section 3.2).

    Raises ``ParameterError``.
    """
    if request.url.query:
        raise ParameterError("Parameters belong in the body, not in the URL.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise ParameterError("The body is not application/x-www-form-urlencoded.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            raise ParameterError("The body is too large.")
    try:
        return read_parameters(body.decode("ascii"))
    except UnicodeDecodeError:
        raise ParameterError("The parameters are not URL-encoded.") from None


def read_authorization(request: Request) -> str | None:
    """The Authorization header. Raises ``ParameterError`` if there are several."""
    values = request.headers.getlist("authorization")
    if len(values) > 1:
        raise ParameterError("More than one Authorization header.")
    return values[0] if values else None


def read_bearer(request: Request) -> str | None:
    """The bearer token (RFC 6750 section 2.1), or None. Raises ``ParameterError`` if there are several headers."""
    scheme, _, token = (read_authorization(request) or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def send(reply: Reply) -> Response:
    """The response for a reply; never cached (RFC 6749 section 5.1)."""
    if reply.location is not None:
        return RedirectResponse(reply.location, reply.status, NO_STORE)
    headers = {name: value for name, value in reply.headers if name != "Content-Type"}
    return JSONResponse(dict(reply.body), reply.status, {**headers, **NO_STORE})


def refuse(error: str, description: str, status: int = 400, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error in the form of RFC 6749 section 5.2."""
    return JSONResponse({"error": error, "error_description": description}, status, {**NO_STORE, **(headers or {})})
