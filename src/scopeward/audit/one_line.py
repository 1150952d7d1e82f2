"""An audit line for people, in one line of text."""

from __future__ import annotations

from scopeward.audit_line import AuditLine


def in_one_line(line: AuditLine) -> str:
    """Time (UTC), verdict with the reference, who, call, and the rule that let it in.

    Parts of it are a caller's own words: clean it before a terminal sees it.
    """
    who = str(line.chain) if line.chain else "-"
    rule = f"  {line.rule}" if line.rule else ""
    return f"{line.time[11:23]}  {_verdict(line):<20}  {who:<40}  {line.method or '-'} {line.path or '-'}{rule}"


def _verdict(line: AuditLine) -> str:
    if line.verdict == "allowed":
        return f"allowed, {line.status} {line.reference}" if line.reference else "allowed"
    return f"{line.status} {line.reference}" if line.reference else "no answer"  # the caller left before it was judged
