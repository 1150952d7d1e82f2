"""How vendors' tokens differ, one file a vendor. Written from their documentation; a real token decides."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from scopeward.idp.quirks.entra import ENTRA_V1, ENTRA_V2
from scopeward.idp.quirks.keycloak import KEYCLOAK
from scopeward.idp.quirks.okta import OKTA
from scopeward.idp.quirks.ping import PING_ONE
from scopeward.idp.quirks.quirk import Quirk
from scopeward.policy.model import PersonEvidence

QUIRKS: Final[tuple[Quirk, ...]] = (OKTA, ENTRA_V2, ENTRA_V1, PING_ONE, KEYCLOAK)

GENERIC: Final = Quirk("a provider by RFC 9068", lambda _url: True, "client_id", PersonEvidence("idtyp", "is", "user"))


def quirk_of(issuer: str) -> Quirk:
    """The vendor behind an issuer's URL, or ``GENERIC``."""
    url = urlsplit(issuer)
    return next((quirk for quirk in QUIRKS if quirk.fits(url)), GENERIC)


__all__ = ["GENERIC", "QUIRKS", "Quirk", "quirk_of"]
