"""What a check finds, before it has a place in a file."""

from __future__ import annotations

from dataclasses import dataclass

from scopeward.policy.diagnostic import Severity


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. ``path`` leads through the document by keys; a name in it also finds the list item of that text.

    ``help`` replaces the registry's remedy where more is known.
    """

    reference: str
    severity: Severity
    path: tuple[str | int, ...]
    message: str
    help: str | None = None


def error(reference: str, path: tuple[str | int, ...], message: str, help: str | None = None) -> Finding:
    """A finding that keeps the policy from being applied."""
    return Finding(reference, "error", path, message, help)


def warning(reference: str, path: tuple[str | int, ...], message: str, help: str | None = None) -> Finding:
    """A finding that a person should see, and may accept."""
    return Finding(reference, "warning", path, message, help)


def note(reference: str, path: tuple[str | int, ...], message: str, help: str | None = None) -> Finding:
    """What a policy means beyond what it says: for whoever asks, and nothing to settle before it is applied."""
    return Finding(reference, "note", path, message, help)
