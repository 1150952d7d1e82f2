"""What a vendor's tokens are like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult

from scopeward.policy.model import PersonEvidence


@dataclass(frozen=True, slots=True)
class Quirk:
    """Which claim of this vendor's access tokens names the client, and what proves a person. ``fits`` tells the vendor by the issuer's URL."""

    name: str
    fits: Callable[[SplitResult], bool]
    client_claim: str
    person: PersonEvidence


def host_of(*suffixes: str) -> Callable[[SplitResult], bool]:
    """Issuers whose host is one of these, or below one that begins with a dot."""
    return lambda url: any((url.hostname or "").endswith(s) if s.startswith(".") else url.hostname == s for s in suffixes)
