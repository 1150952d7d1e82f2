"""Entra ID: ``scp`` is there for delegated tokens only. The token's version follows the API's registration, and the issuer's host the version."""

from __future__ import annotations

from scopeward.idp.quirks.quirk import Quirk, host_of
from scopeward.policy.model import PersonEvidence

ENTRA_V2 = Quirk("Entra ID, v2 tokens", host_of("login.microsoftonline.com", "login.microsoftonline.us"), "azp", PersonEvidence("scp", "present"))
ENTRA_V1 = Quirk("Entra ID, v1 tokens", host_of("sts.windows.net"), "appid", PersonEvidence("scp", "present"))
