from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from scopeward.policy.schema import json_schema
from scopeward.policy.source import Loaded, load

SAMPLE = (Path(__file__).parent / "sample.yaml").read_text(encoding="utf-8")
VALIDATOR = Draft202012Validator(json_schema())


def as_an_editor_reads(text: str) -> Any:
    return yaml.safe_load(text)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_sample_validates() -> None:
    assert isinstance(load(SAMPLE.encode(), "p"), Loaded)
    assert list(VALIDATOR.iter_errors(as_an_editor_reads(SAMPLE))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("version: 1\n", ""),
        ("    trust: internal", "    turst: internal"),
        ("kind: app", "kind: robot"),
        ("kind: app, ", ""),
        ("clock_skew: 30s", "clock_skew: 30"),
        ("is: user", ""),
        ("is: user", "is: user, not: bot"),
        ("is: user", "present: false"),
        ("may: read.orders}", "may: }"),
        ("GET /health", "OPTIONS /health"),
        ("GET /health", "GET health"),
        ("{needs: read.orders}", "{}"),
        ('public: "load balancer probe, no data"', "public: true"),
        ("public: ", "to: people, public: "),
        ("forward_token: true", "forward_token: 'yes'"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/x?y"),
        ("at: /orders/v1", "at: orders"),
        ("  order-sync: ", "  order sync: "),
        ("upstream: http://127.0.0.1:9001", "upstream: []"),
        ("issuer: x-agw-issuer", "issuer: []"),
    ],
)
def test_what_load_refuses_is_not_valid(old: str, new: str) -> None:
    assert old in SAMPLE
    text = SAMPLE.replace(old, new, 1)
    assert list(VALIDATOR.iter_errors(as_an_editor_reads(text))) != []
    if "order sync" not in new:  # names are the checks' to refuse
        assert isinstance(load(text.encode(), "p"), tuple)


def test_every_key_is_described() -> None:
    schema = json_schema()
    undescribed = [
        f"{where}.{key}"
        for where, entry in [("policy", schema), *schema["$defs"].items()]
        for key, value in entry.get("properties", {}).items()
        if not value.get("description") and not schema["$defs"].get(value.get("$ref", "").rpartition("/")[2], {}).get("description")
    ]
    assert undescribed == []
