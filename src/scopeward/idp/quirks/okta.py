"""Okta: a client's own token has no ``uid``."""

from __future__ import annotations

from scopeward.idp.quirks.quirk import Quirk, host_of
from scopeward.policy.model import PersonEvidence

OKTA = Quirk("Okta", host_of(".okta.com", ".okta-emea.com", ".oktapreview.com"), "cid", PersonEvidence("uid", "present"))
