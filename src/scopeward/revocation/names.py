"""Which issuer and which client people mean: by their names in the policy in force, or by what stands in a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scopeward.errors import ScopewardError
from scopeward.policy.model import Policy
from scopeward.policy.url import UrlError, parse_url


@dataclass(frozen=True, slots=True)
class NamedClient:
    """A client of the policy: the name of its issuer there, and its ``client_id``."""

    issuer: str
    client_id: str


@dataclass(frozen=True, slots=True)
class Meant:
    """A client as tokens carry it. ``name`` is the policy's, ``None`` where what was given is taken as the ``client_id`` itself."""

    issuer: str
    client_id: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Names:
    """What is known of the policy in force: issuers (name → ``iss``) and clients by name. Both are empty where no policy can be read."""

    issuers: Mapping[str, str] = field(default_factory=dict)
    clients: Mapping[str, NamedClient] = field(default_factory=dict)

    @classmethod
    def of(cls, policy: Policy) -> Names:
        """The names of a policy."""
        clients = {client.name: NamedClient(client.issuer, client.id) for client in policy.clients}
        return cls({issuer.name: issuer.issuer for issuer in policy.issuers}, clients)

    def issuer(self, given: str | None) -> str:
        """The ``iss`` that is meant by a name or an ``iss``; by nothing where there is one issuer only. Errors: ``revocation-invalid``.

        Where the policy is known, an ``iss`` must be one of it: ``iss`` is compared code point by code point (RFC 8414 section 3.3), and
        with a slash too many the revocation would revoke nothing.
        """
        if given is None:
            return self._only_issuer()
        if given in self.issuers:
            return self.issuers[given]
        if self.issuers:
            if given in self.issuers.values():
                return given
            raise ScopewardError("revocation-invalid", f"the policy in force has no issuer {given[:200]!a}", f"Give one of these: {self._list()}.")
        return _require_url(given)

    def issuer_name(self, issuer: str) -> str | None:
        """The policy's name of an ``iss``."""
        return next((name for name, found in self.issuers.items() if found == issuer), None)

    def client(self, given: str, issuer: str | None) -> Meant:
        """The client that is meant by a name, else by a ``client_id``, of the issuer given. Errors: ``revocation-invalid``."""
        named = self.clients.get(given)
        if named is None:
            return Meant(self.issuer(issuer), given, None)
        its_own = self.issuers[named.issuer]
        if issuer is not None and self.issuer(issuer) != its_own:
            what = f"{given!a} is the policy's name of a client of '{named.issuer}', and not of the issuer given"
            raise ScopewardError("revocation-invalid", what, "Leave --issuer out, or give the client id itself where it is another client's.")
        return Meant(its_own, named.client_id, given)

    def _only_issuer(self) -> str:
        if len(self.issuers) == 1:
            return next(iter(self.issuers.values()))
        if self.issuers:
            raise ScopewardError("revocation-invalid", "the policy in force has several issuers", f"Say which with --issuer: {self._list()}.")
        what = "no policy in force can be read in the state directory, so the issuer is not known"
        raise ScopewardError("revocation-invalid", what, "Give it with --issuer, exactly as it stands in the tokens' 'iss', or the node's --state-dir.")

    def _list(self) -> str:
        return ", ".join(f"{name} ({issuer})" for name, issuer in self.issuers.items())


def _require_url(given: str) -> str:
    """An ``iss`` is a URL here; anything else is a name that cannot be looked up."""
    try:
        parse_url(given)
    except UrlError:
        what = f"no policy in force can be read in the state directory, so it is not known which issuer {given[:200]!a} is"
        raise ScopewardError("revocation-invalid", what, "Give its URL, exactly as it stands in the tokens' 'iss', or the node's --state-dir.") from None
    return given
