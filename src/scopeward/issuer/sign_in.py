"""The authorization endpoint for browsers: a page that lists the people, and the form that it posts."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from scopeward.issuer.ledger import FORM_LIFETIME, Ledger, LoginForm, new_handle
from scopeward.issuer.pages import error_page, login_page, page_headers
from scopeward.issuer.parameters import ParameterError, read_parameters
from scopeward.issuer.server import ProviderServer, Reply
from scopeward.issuer.wire import read_form, send

_log = logging.getLogger(__name__)

BROWSER_COOKIE = "scopeward-sign-in"
_HANDLE = re.compile(r"\A[A-Za-z0-9_-]{43}\Z")


class SignIn:
    """GET shows who can sign in; POST takes the choice.

    The form cannot be posted by another site:

    1. it names a registered request by a random handle, good once and for ten minutes, so nothing that matters is in the post;
    2. the handle works only with the cookie of the browser that opened the page;
    3. a post that says it comes from another origin is refused.
    """

    def __init__(self, server: ProviderServer, ledger: Ledger) -> None:
        self._server = server
        self._ledger = ledger

    async def show(self, request: Request) -> Response:
        """GET /authorize."""
        try:
            parameters = read_parameters(request.url.query)
        except ParameterError as error:
            return _error("invalid_request", str(error))
        asked = self._server.examine_authorization_request(parameters)
        if isinstance(asked, Reply):
            return _redirect_or_page(asked)
        browser = _browser(request) or new_handle()
        form = self._ledger.open_form(LoginForm(parameters, browser))
        page = HTMLResponse(login_page(asked, self._server.accounts.people.values(), form), headers=page_headers(asked.redirect_uri))
        page.set_cookie(BROWSER_COOKIE, browser, max_age=FORM_LIFETIME, path="/authorize", httponly=True, samesite="lax")
        return page

    async def choose(self, request: Request) -> Response:
        """POST /authorize."""
        if _is_foreign(request):
            return _error("access_denied", "The form was posted by another site.", 403)
        try:
            posted = await read_form(request)
        except ParameterError as error:
            return _error("invalid_request", str(error))
        form = self._ledger.close_form(posted.get("form", ""), _browser(request) or "")
        if form is None:
            return _error("invalid_request", "The form was used already, has run out, or is of another browser.")
        return self._answer(form.parameters, posted)

    def _answer(self, parameters: Mapping[str, str], posted: Mapping[str, str]) -> Response:
        person = self._server.accounts.people.get(posted.get("person", ""))
        if person is None and "deny" not in posted:
            return _error("invalid_request", "There is no such person.")
        _log.info("sign-in: client=%s person=%s", parameters.get("client_id"), person.name if person else "(cancelled)")
        return _redirect_or_page(self._server.answer_authorization_request(parameters, person))


def _is_foreign(request: Request) -> bool:
    own = f"{request.url.scheme}://{request.headers['host']}"
    return request.headers.get("origin", own) != own or request.headers.get("sec-fetch-site", "same-origin") != "same-origin"


def _browser(request: Request) -> str | None:
    value = request.cookies.get(BROWSER_COOKIE, "")
    return value if _HANDLE.match(value) else None


def _redirect_or_page(reply: Reply) -> Response:
    if reply.location is not None:
        return send(reply)
    return _error(str(reply.body.get("error", "server_error")), str(reply.body.get("error_description", "")))


def _error(error: str, description: str, status: int = 400) -> HTMLResponse:
    return HTMLResponse(error_page(error, description), status, page_headers())
