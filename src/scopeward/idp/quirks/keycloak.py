"""Keycloak: nothing in its tokens proves a person by itself; a mapper "Hardcoded claim" ``idtyp`` = ``user`` on the apps that people use does."""

from __future__ import annotations

from scopeward.idp.quirks.quirk import Quirk
from scopeward.policy.model import PersonEvidence

KEYCLOAK = Quirk("Keycloak", lambda url: "/realms/" in url.path, "azp", PersonEvidence("idtyp", "is", "user"))
