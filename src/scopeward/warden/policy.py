"""From a policy's text to a snapshot that may be published."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from scopeward.analysis.checks import check, examine, without_notes
from scopeward.analysis.gateway import Facts, Gateway
from scopeward.analysis.resolve import resolve
from scopeward.compile import Edge, Snapshot, compile_gateway
from scopeward.compile.prove import prove
from scopeward.envoy.place import Place
from scopeward.errors import ScopewardError
from scopeward.policy.diagnostic import Diagnostic, limited
from scopeward.policy.model import Policy
from scopeward.policy.source import Loaded, Written, read
from scopeward.policy_files import Bundle
from scopeward.tls.certificates import CertificateFiles
from scopeward.tls.certificates import Loaded as Certificates


class PolicyError(ScopewardError):
    """A policy with errors. ``diagnostics`` are all of its diagnostics, warnings too."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        self.diagnostics = diagnostics
        first = next(d for d in diagnostics if d.severity == "error")
        super().__init__(first.reference, f"{first.span}: {first.message}", first.help)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A policy that may be published, and what it came from."""

    policy: Policy
    gateway: Gateway
    snapshot: Snapshot
    warnings: tuple[Diagnostic, ...]


def checked(policy: Bundle | bytes, name: str = "", *, apart: bool = True) -> tuple[Loaded, tuple[Diagnostic, ...]]:
    """A policy without errors in the environment that is chosen, and its warnings; ``name`` is that of a policy that is one text.

    ``apart`` looks at the other environments too: none may accept the same tokens. Errors: ``PolicyError``.
    """
    bundle = policy if isinstance(policy, Bundle) else Bundle.of(policy, name)
    written = read(bundle)
    if not isinstance(written, Written):
        raise PolicyError(limited(written))
    loaded = written.choose(bundle.env)
    if not isinstance(loaded, Loaded):
        raise PolicyError(limited(loaded))
    diagnostics = examine(written, bundle.env).diagnostics if apart and bundle.env is not None else check(loaded)
    if any(d.severity == "error" for d in diagnostics):
        raise PolicyError(without_notes(diagnostics))
    return loaded, without_notes(diagnostics)


def compile_policy(loaded: Loaded, facts: Facts, edge: Edge, warnings: tuple[Diagnostic, ...] = ()) -> Prepared:
    """Resolve, compile, prove. Pure. Errors: ``idp-…``, ``snapshot-unproven``."""
    gateway = resolve(loaded.policy, facts)
    snapshot = compile_gateway(gateway, edge)
    prove(snapshot, gateway)
    return Prepared(loaded.policy, gateway, snapshot, warnings)


def require_fit(policy: Policy, *, verifies_clients: bool) -> None:
    """What a policy asks of a node. Errors: ``client-ca-missing``."""
    asking = next((api.name for api in policy.apis if api.client_certificate is not None), None)
    if asking is not None and not verifies_clients:
        raise ScopewardError("client-ca-missing", f"the API '{asking}' asks for client certificates, and this node cannot verify any")


def showing(place: Place, certificates: Certificates) -> Place:
    """The place with these certificates."""
    return replace(
        place,
        tls=certificates.tls,
        client_ca=certificates.client_ca,
        upstream_tls=certificates.upstream_tls,
        ca_bundle=certificates.ca_bundle,
    )


def certificate_files(named: CertificateFiles, policy: Policy) -> CertificateFiles:
    """The files that the settings name, and with them those that the policy does."""
    upstream = {api.upstream.client_certificate for api in policy.apis if api.upstream.client_certificate is not None}
    return replace(named, upstream=tuple(sorted(upstream)), ca_bundle=Path(policy.ca_bundle) if policy.ca_bundle is not None else None)
