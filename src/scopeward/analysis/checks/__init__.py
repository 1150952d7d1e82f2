"""Does the policy make sense? Each check is a function from the policy to findings; what cannot be honoured is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from scopeward.analysis.checks.audiences import check_audience_shared, check_audience_stated
from scopeward.analysis.checks.clients import check_client_twice
from scopeward.analysis.checks.environments import check_tokens_apart
from scopeward.analysis.checks.finding import Finding
from scopeward.analysis.checks.headers import check_header_reserved
from scopeward.analysis.checks.issuers import check_issuer_count, check_issuer_in_clear_text, check_person_evidence, check_token_id_optional
from scopeward.analysis.checks.names import check_names_known, check_names_usable
from scopeward.analysis.checks.paths import check_path_overlap, check_path_reserved, check_rule_overlap
from scopeward.analysis.checks.records import check_records_promised
from scopeward.analysis.checks.scope_words import check_scope_words
from scopeward.analysis.checks.streams import check_stream_possible
from scopeward.analysis.checks.teams import check_team_narrows, check_team_paths, check_team_scopes, check_teams_allowed
from scopeward.analysis.checks.upstreams import check_plaintext_upstream, check_upstream_contradiction
from scopeward.policy.diagnostic import Diagnostic, diagnose, limited
from scopeward.policy.model import Policy
from scopeward.policy.source import Loaded, Written

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
    check_teams_allowed,
    check_team_scopes,
    check_team_narrows,
    check_team_paths,
)


def check(loaded: Loaded) -> tuple[Diagnostic, ...]:
    """All findings with their places, in order of place and at most ``MOST_SHOWN``. Without an error among them the policy can be applied.

    Notes are among them: whoever does not show them takes ``without_notes``.
    """
    return limited(_found(loaded))


def _found(loaded: Loaded) -> list[Diagnostic]:
    findings = (finding for check_one in CHECKS for finding in check_one(loaded.policy))
    said = [diagnose(f.reference, f.message, loaded.spans.of(f.path), help=f.help, severity=f.severity) for f in findings]
    return [*loaded.warnings, *said]


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found in a policy's environments, and the policy in each where its form is right; ``None`` is that of a policy without any."""

    diagnostics: tuple[Diagnostic, ...]
    loaded: Mapping[str | None, Loaded]


def examine(written: Written, only: str | None = None) -> Examined:
    """Check a policy in all its environments, each finding once with those it is about; or in one, and beside the others."""
    names: list[str | None] = [environment.name for environment in written.environments]
    chosen = [only] if only is not None or not names else names
    outcomes = {name: written.choose(name) for name in dict.fromkeys([*names, *chosen])}
    loaded = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Loaded)}
    found: dict[Diagnostic, list[str]] = {}
    for name in chosen:
        outcome = outcomes[name]
        for diagnostic in _found(outcome) if isinstance(outcome, Loaded) else outcome:
            found.setdefault(diagnostic, []).append(name or "")
    about = [replace(d, environments=() if len(set(where)) == len(chosen) else tuple(dict.fromkeys(where))) for d, where in found.items()]
    return Examined(limited([*about, *_across(loaded, only)]), {name: loaded[name] for name in chosen if name in loaded})


def _across(loaded: Mapping[str | None, Loaded], only: str | None) -> Iterator[Diagnostic]:
    for environment, api, environments, message in check_tokens_apart({name: one.policy for name, one in loaded.items() if name is not None}):
        if only is None or only in environments:
            place = loaded[environment].spans.of(("apis", api, "audience"))
            yield replace(diagnose("token-valid-in-two-environments", message, place), environments=environments)


def without_notes(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """What is to be said without being asked: errors and warnings."""
    return tuple(d for d in diagnostics if d.severity != "note")


__all__ = ["CHECKS", "Check", "Examined", "Finding", "check", "examine", "without_notes"]
