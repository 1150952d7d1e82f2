"""One issuer, one API, and one token of it that is revoked: what the warden's tests are about."""

from __future__ import annotations

from scopeward.analysis.gateway import Revocation

ISSUER = "https://idp.test/"
REVOKED = Revocation(ISSUER, "token-id", "the-revoked-one")
POLICY = f"""\
version: 1
public_url: http://127.0.0.1:8080
issuers:
  main: {{issuer: "{ISSUER}", audience: api://orders}}
scopes:
  read.orders: {{says: Read orders}}
clients:
  order-sync: {{kind: service, id: order-sync}}
apis:
  orders:
    at: /orders
    upstream: http://127.0.0.1:7000
    rules:
      GET /**: {{needs: read.orders, to: services}}
""".encode()
