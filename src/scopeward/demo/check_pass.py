"""An upstream's side of the back door: ASGI middleware that lets a call in only with a pass of the gateway.

It needs joserfc and httpx2 and nothing of Scopeward: copy it into an API of your own.

    app = CheckPass(app, issuer="https://api.example.com", audience="https://api.example.com/orders/v1")

``issuer`` is the gateway's ``public_url``, ``audience`` the same with the API's ``at``. How a pass is verified:

1. The header is there once, and is of a sane length.
2. Its ``kid`` names a key that the gateway publishes. A key that is not known is asked for, at most once in ten seconds.
3. The signature is of that key, with ES256, whatever the pass says of its algorithm (RFC 8725 section 3.1).
4. ``iss`` is the gateway, ``aud`` is this API, ``exp`` is to come and ``iat`` is past, with a minute for clocks that differ.

A pass says that a call came through the gateway. Who called is in the gateway's identity headers, which may be believed only together with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Fetch = Callable[[str], Awaitable[bytes]]

JWKS_PATH: Final = "/.well-known/scopeward/jwks.json"
LONGEST: Final = 4096
"""Bytes of a pass. A real one has about 400."""
LEEWAY: Final = 60
"""Seconds by which the gateway's clock and this one may differ."""
FRESH: Final = 600.0
"""Seconds before the keys are fetched again: a key that the gateway withdrew is believed no longer."""
COOLDOWN: Final = 10.0
"""Seconds between two fetches, however many calls ask for keys that do not exist."""
STALE: Final = 86_400.0
"""Seconds for which the last keys serve while the gateway does not answer."""

PROBLEM: Final = json.dumps(
    {"type": "about:blank", "title": "No pass", "status": 401, "detail": "This API takes calls through its gateway only."}, separators=(",", ":")
).encode()

log = logging.getLogger(__name__)


class PassRefusedError(Exception):
    """The call did not come through the gateway. The text is for this API's log; a caller is told nothing."""


async def fetch_jwks(url: str) -> bytes:
    """The published keys. TLS is verified, and no redirect is followed."""
    async with httpx2.AsyncClient(timeout=5.0, trust_env=False, follow_redirects=False) as http:
        answer = await http.get(url)
        answer.raise_for_status()
        if answer.status_code != 200:
            raise httpx2.HTTPError(f"status {answer.status_code}")
        return answer.content


class GatewayKeys:
    """The gateway's published keys by ``kid``, fetched when they are needed."""

    def __init__(self, url: str, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, ECKey] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def get(self, kid: str) -> ECKey | None:
        """The key of this name, or ``None`` where the gateway publishes no such key, or was not to be reached for too long."""
        if kid not in self._keys or not self._within(FRESH, self._fetched_at):
            async with self._lock:  # the calls that wait here share one fetch
                if (kid not in self._keys or not self._within(FRESH, self._fetched_at)) and not self._within(COOLDOWN, self._tried_at):
                    await self._refresh()
        return self._keys.get(kid) if self._within(STALE, self._fetched_at) else None

    async def _refresh(self) -> None:
        self._tried_at = self._clock()
        try:
            keys = _usable(json.loads(await self._fetch(self._url)))
        except (httpx2.HTTPError, OSError, ValueError, RecursionError) as error:
            log.warning("the gateway's keys at %s are not to be had: %s", self._url, type(error).__name__)
            return
        self._keys, self._fetched_at = keys, self._clock()

    def _within(self, seconds: float, since: float) -> bool:
        return 0 <= self._clock() - since < seconds  # a clock that was set back makes nothing young


def _usable(document: Any) -> dict[str, ECKey]:
    """Errors: ``ValueError`` where there is none: then what is known stays."""
    published = document.get("keys") if isinstance(document, dict) else None
    keys = {}
    for given in published if isinstance(published, list) else ():
        if isinstance(given, dict) and (given.get("kty"), given.get("crv"), given.get("alg")) == ("EC", "P-256", "ES256") and "d" not in given:
            try:
                keys[str(given["kid"])] = ECKey.import_key(given)
            except (JoseError, ValueError, TypeError, KeyError):
                continue
    if not keys:
        raise ValueError("no usable key")
    return keys


class CheckPass:
    """The middleware. ``jwks_url`` is for an API that reaches the gateway by another name than callers do; ``header`` is the policy's."""

    def __init__(
        self,
        app: App,
        *,
        issuer: str,
        audience: str,
        jwks_url: str | None = None,
        header: str = "x-scopeward-pass",
        fetch: Fetch = fetch_jwks,
        clock: Callable[[], float] = time.time,
    ) -> None:
        url = jwks_url or issuer + JWKS_PATH
        if urlsplit(url).scheme != "https" and urlsplit(url).hostname not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError(f"{url}: keys that come in clear text could be anybody's")
        self._app = app
        self._issuer, self._audience = issuer, audience
        self._header = header.lower().encode("ascii")
        self._clock = clock
        self._keys = GatewayKeys(url, fetch, clock)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let the call in, or answer it."""
        if scope["type"] != "lifespan":
            try:
                await self.check([value for name, value in scope["headers"] if name.lower() == self._header])
            except PassRefusedError as refused:
                log.info("refused a call that did not come through the gateway: %s", refused)
                await _refuse(scope, send)
                return
        await self._app(scope, receive, send)

    async def check(self, values: list[bytes]) -> None:
        """Verify the pass in the header's values; the numbers are those above. Raises ``PassRefusedError``."""
        if len(values) != 1 or not 0 < len(values[0]) <= LONGEST:  # 1
            raise PassRefusedError(f"{len(values)} headers" if len(values) != 1 else f"a header of {len(values[0])} bytes")
        try:
            kid = jws.extract_compact(values[0]).headers().get("kid")
            key = await self._keys.get(kid) if isinstance(kid, str) else None  # 2
            if key is None:
                raise PassRefusedError("its key is not the gateway's")
            claims = jwt.decode(values[0], key, algorithms=["ES256"]).claims  # 3
            self._rules().validate(claims)  # 4
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise PassRefusedError(type(error).__name__) from None

    def _rules(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=int(self._clock()),
            leeway=LEEWAY,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
            iat={"essential": True},
        )


async def _refuse(scope: Message, send: Send) -> None:
    """401 with a constant text (RFC 9457), or the end of a WebSocket before it is one."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(PROBLEM)).encode()),
        (b"www-authenticate", b"Scopeward-Pass"),  # RFC 9110 section 11.6.1 wants one with a 401
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else PROBLEM})
