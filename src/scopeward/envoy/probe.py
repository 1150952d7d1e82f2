"""One call without a token to the gateway's own port: the shortest proof that it refuses."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import httpx2

from scopeward.compile.envoy import names
from scopeward.envoy.place import Listen, Place

PATIENCE: Final = 2.0
EXPECTED: Final = (401, "token-missing")
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where to reach what listens on every address


async def probe(place: Place, *, refusing: bool = False, socket: Path | None = None) -> str | None:
    """``None`` where the call is refused as it must be; else what came instead. Always on a connection of its own.

    ``refusing``: all calls are, so that the answer may say that. ``socket`` is where to call instead of the port.
    """
    secure, host = place.tls is not None, place.listen.host
    url = Listen(EVERYWHERE.get(host, host), place.listen.port).url(tls=secure) + names.PROBE
    transport = httpx2.AsyncHTTPTransport(uds=None if socket is None else str(socket), verify=_anybody() if secure else False)
    try:
        async with httpx2.AsyncClient(timeout=PATIENCE, trust_env=False, transport=transport) as client:
            answer = await client.get(url)
    except httpx2.HTTPError as error:
        return f"a call to the data port gets no answer ({type(error).__name__})"
    said = answer.status_code, answer.headers.get(names.REFERENCE)
    if said == EXPECTED or (refusing and said == (503, "audit-unavailable")):
        return None
    return f"a call without a token gets {answer.status_code} and not 401 token-missing"


def _anybody() -> ssl.SSLContext:
    """Accepts any certificate: the certificate is the gateway's public name's, and the call goes to an address of this machine.

    Nothing is sent that could be stolen, and nothing is believed but the refusal.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
