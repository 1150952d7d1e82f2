from __future__ import annotations

import pytest

from scopeward.idp.quirks import quirk_of


@pytest.mark.parametrize(
    ("issuer", "name", "client_claim"),
    [
        ("https://acme.okta.com/oauth2/default", "Okta", "cid"),
        ("https://acme.oktapreview.com/oauth2/x", "Okta", "cid"),
        ("https://login.microsoftonline.com/3f6c/v2.0", "Entra ID, v2 tokens", "azp"),
        ("https://sts.windows.net/3f6c/", "Entra ID, v1 tokens", "appid"),
        ("https://auth.pingone.eu/env/as", "PingOne", "client_id"),
        ("https://sso.acme.example/realms/acme", "Keycloak", "azp"),
        ("https://okta.com.evil.example/", "a provider by RFC 9068", "client_id"),
        ("https://notokta.com/", "a provider by RFC 9068", "client_id"),
        ("https://login.microsoftonline.com.evil.example/", "a provider by RFC 9068", "client_id"),
        ("http://127.0.0.1:9000", "a provider by RFC 9068", "client_id"),
    ],
)
def test_the_vendor_is_told_by_the_issuers_url(issuer: str, name: str, client_claim: str) -> None:
    quirk = quirk_of(issuer)
    assert (quirk.name, quirk.client_claim) == (name, client_claim)
