"""Scopeward's own authorization server; today the development identity provider, for loopback only.

A demo needs an identity provider that starts in a second, signs in anybody and issues the tokens that real ones do. In short::

    accounts = load_accounts(text, name)                    # or default_accounts(); people and clients, from YAML
    keys = SigningKeys.load(state_dir, "RS256")             # or SigningKeys.create() in memory
    options = ProviderOptions("http://127.0.0.1:9400", audience="https://api.example.test")
    app = development_provider(accounts, keys, options, clock, load_admin_token(state_dir))
    provider_server(app).run(sockets=[open_loopback_socket("127.0.0.1", 9400)])

    answer = obtain_token("http://127.0.0.1:9400", "orders-web", person="alice", scopes=["read.orders"])

It issues by authorization code with PKCE, client credentials and refresh token; ``resource`` (RFC 8707, one a request) becomes ``aud``.
Asking no scope gets all of the client's. The form parameter ``lifetime`` at the token endpoint (1 to 86400 seconds) is an extension for
development only. ``POST /dev/rotate?mode=publish|promote|drop|hard`` with the admin token as bearer rotates its keys.

The protocol is authlib's (``server.py``, ``grants.py``: no I/O); ``ledger.py`` is its memory, ``tokens.py`` writes what it issues.
"""

from scopeward.issuer.accounts import Accounts, Client, Person
from scopeward.issuer.accounts_file import default_accounts, load_accounts
from scopeward.issuer.client import TokenAnswer, obtain_token
from scopeward.issuer.keys import ROTATIONS, Rotation, SigningKeys, generate_key
from scopeward.issuer.loopback import open_loopback_socket, provider_server
from scopeward.issuer.options import ProviderOptions
from scopeward.issuer.provider import development_provider
from scopeward.issuer.state import load_admin_token

__all__ = [
    "ROTATIONS",
    "Accounts",
    "Client",
    "Person",
    "ProviderOptions",
    "Rotation",
    "SigningKeys",
    "TokenAnswer",
    "default_accounts",
    "development_provider",
    "generate_key",
    "load_accounts",
    "load_admin_token",
    "obtain_token",
    "open_loopback_socket",
    "provider_server",
]
