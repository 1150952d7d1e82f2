"""Records: what a trust promises of the audit, the whole policy keeps."""

from __future__ import annotations

from collections.abc import Iterator

from scopeward.analysis.checks.finding import Finding, warning
from scopeward.policy.model import Policy


def check_records_promised(policy: Policy) -> Iterator[Finding]:
    """``audit-promise-given-up``: a warning, since the operator may rather lose lines than calls, and should then not read ``log: full`` as a promise."""
    full = [trust.name for trust in policy.trust if trust.log == "full"]
    if full and policy.audit_on_full == "count":
        message = f"calls go on when they cannot be recorded, though the trust '{full[0]}' says 'log: full'"
        yield warning("audit-promise-given-up", ("audit", "on_full"), message)
