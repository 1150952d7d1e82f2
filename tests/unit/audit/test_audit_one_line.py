from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scopeward.audit.one_line import in_one_line
from scopeward.audit_line import FIELDS, parse

EXAMPLE: dict[str, Any] = dict.fromkeys(FIELDS) | json.loads((Path(__file__).parents[3] / "docs/examples/audit-line.json").read_text())


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "allowed · agent claims-copilot ← person alice · GET /orders/v1/42/customer · rule.4e0dc6c1c0c6"),
        ({"decision": "no-rule", "reference": "no-rule", "status": 403}, "403 no-rule · agent claims-copilot ← person alice · GET /orders/v1/42/customer"),
        (
            {"reference": "upstream-timeout", "status": 504},
            "allowed, 504 upstream-timeout · agent claims-copilot ← person alice · GET /orders/v1/42/customer · rule.",
        ),
        ({"decision": None, "who": None, "reference": "token-missing", "status": 401}, "401 token-missing · - · GET /orders/v1/42/customer"),
        ({"decision": None, "who": None, "status": 0, "method": None, "path": None}, "no answer · - · - -"),
    ],
)
def test_what_a_person_is_shown(changes: dict[str, Any], shown: str) -> None:
    text = in_one_line(parse(json.dumps(EXAMPLE | changes)))
    assert " · ".join(part.strip() for part in text.split("  ") if part.strip()).startswith(f"09:41:04.308 · {shown}")
