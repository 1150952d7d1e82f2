"""Does the policy make sense? Each check is a function from the policy to findings; what cannot be honoured is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from scopeward.analysis.checks.audiences import check_audience_shared, check_audience_stated
from scopeward.analysis.checks.clients import check_client_twice
from scopeward.analysis.checks.finding import Finding
from scopeward.analysis.checks.headers import check_header_reserved
from scopeward.analysis.checks.issuers import check_issuer_count, check_issuer_in_clear_text, check_person_evidence, check_token_id_optional
from scopeward.analysis.checks.names import check_names_known, check_names_usable
from scopeward.analysis.checks.paths import check_path_overlap, check_path_reserved, check_rule_overlap
from scopeward.analysis.checks.records import check_records_promised
from scopeward.analysis.checks.scope_words import check_scope_words
from scopeward.analysis.checks.streams import check_stream_possible
from scopeward.analysis.checks.upstreams import check_plaintext_upstream, check_upstream_contradiction
from scopeward.policy.diagnostic import Diagnostic, diagnose, limited
from scopeward.policy.model import Policy
from scopeward.policy.source import Loaded

Check = Callable[[Policy], Iterator[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    check_names_usable,
    check_names_known,
    check_scope_words,
    check_issuer_count,
    check_issuer_in_clear_text,
    check_person_evidence,
    check_token_id_optional,
    check_audience_stated,
    check_audience_shared,
    check_client_twice,
    check_path_overlap,
    check_path_reserved,
    check_rule_overlap,
    check_header_reserved,
    check_plaintext_upstream,
    check_upstream_contradiction,
    check_stream_possible,
    check_records_promised,
)


def check(loaded: Loaded) -> tuple[Diagnostic, ...]:
    """All findings with their places, in order of place and at most ``MOST_SHOWN``. Without an error among them the policy can be applied.

    Notes are among them: whoever does not show them takes ``without_notes``.
    """
    findings = (finding for check_one in CHECKS for finding in check_one(loaded.policy))
    return limited([diagnose(f.reference, f.message, loaded.spans.of(f.path), help=f.help, severity=f.severity) for f in findings])


def without_notes(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """What is to be said without being asked: errors and warnings."""
    return tuple(d for d in diagnostics if d.severity != "note")


__all__ = ["CHECKS", "Check", "Finding", "check", "without_notes"]
