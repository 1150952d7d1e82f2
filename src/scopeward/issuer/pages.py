"""The two HTML pages, without script, and the headers they are served with. Whatever they show is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from urllib.parse import urlsplit

from scopeward.issuer.accounts import Person
from scopeward.issuer.server import Asked

_STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem}"
    "button{font:inherit;display:block;width:100%;text-align:left;margin:.5rem 0;padding:.75rem 1rem;cursor:pointer}"
    "small{display:block;opacity:.75}code{overflow-wrap:anywhere}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def login_page(asked: Asked, people: Iterable[Person], form: str) -> str:
    """Asks who one is. ``form`` is the handle of the registered form, the only thing that the page posts beside the choice."""
    scopes = ", ".join(f"<code>{escape(scope)}</code>" for scope in asked.scopes)
    resource = asked.parameters.get("resource")
    return _page(
        "Who are you?",
        f"<p><strong>{escape(asked.client.client_id)}</strong> asks for {scopes or 'no scope'}"
        + (f" at <code>{escape(resource)}</code>" if resource else "")
        + f".</p><p>You will go back to <code>{escape(asked.redirect_uri)}</code>.</p>"
        '<form method="post" action="/authorize">'
        f'<input type="hidden" name="form" value="{escape(form)}">'
        + "".join(_button(person) for person in people)
        + '<button name="deny" value="yes">Cancel</button></form>'
        "<p><small>This is a development identity provider: it asks for no password.</small></p>",
    )


def _button(person: Person) -> str:
    about = f"{person.name}, {person.email}" if person.email else person.name
    return f'<button name="person" value="{escape(person.name)}">{escape(person.full_name)}<small>{escape(about)}</small></button>'


def error_page(error: str, description: str) -> str:
    """Says why nobody can sign in. The element with ``data-error`` is what ``obtain_token`` reads."""
    return _page(
        "This sign-in cannot go on",
        f'<p data-error="{escape(error)}">{escape(description or error)}</p>'
        "<p>Go back to the application and start again. If you build it: the parameters of its authorization request need a look.</p>",
    )


def page_headers(redirect_uri: str | None = None) -> dict[str, str]:
    """No framing, no caching, no script. ``form-action`` names the client too, for browsers apply it to the redirect after the post.

    The referrer policy is not "no-referrer", with which a browser would post ``Origin: null``.
    """
    targets = " ".join(["'self'", *([_origin(redirect_uri)] if redirect_uri else [])])
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {targets}; frame-ancestors 'none'; base-uri 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else f"{parts.scheme}:"


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
