"""The policy's JSON schema, for editors (``# yaml-language-server: $schema=…``) and other tools."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from scopeward.policy.document import Entry, IncludedDocument, PolicyDocument

SCHEMA_ID = "https://scopeward.dev/schema/policy-1.json"
INCLUDED_SCHEMA_ID = "https://scopeward.dev/schema/policy-included-1.json"


def json_schema() -> dict[str, Any]:
    """JSON schema, draft 2020-12, made from the same models that ``source.load`` validates with.

    It takes whatever ``load`` takes, and refuses much of what ``load`` refuses; names that are not defined are found by ``check`` only.
    """
    return {**_schema(PolicyDocument, SCHEMA_ID, "Scopeward policy"), "anyOf": [{"required": ["apis"]}, {"required": ["include"]}]}


def included_json_schema() -> dict[str, Any]:
    """The same for a file that a policy includes."""
    return _schema(IncludedDocument, INCLUDED_SCHEMA_ID, "Scopeward policy, a file that is included")


def _schema(form: type[Entry], id: str, title: str) -> dict[str, Any]:
    schema = form.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": GenerateJsonSchema.schema_dialect, "$id": id, "title": title, **_tidied(schema)}


def _tidied(schema: Any, *, names: bool = False) -> Any:
    """Without the titles pydantic makes up and the nulls that stand for "left out"; names that fit no pattern are refused.

    ``names`` says that the keys here are names of properties or definitions, not words of the schema language.
    """
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: _tidied(value, names=key in {"properties", "$defs", "patternProperties"} and not names)
        for key, value in schema.items()
        if names or not (key == "title" or (key == "default" and value is None))
    }
    return {**kept, "additionalProperties": False} if "patternProperties" in kept and not names else kept
