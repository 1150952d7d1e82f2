"""The RBAC filters as Envoy reads them: matcher lists, matcher trees, predicates, and the little CEL that stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.kit.walk_stream import ABSENT, RBAC, Answered, Stream, text_matches, value_at

SUBJECT = "CN=somebody"
"""Certificates of a walk have a subject."""


def decide_by_table(stream: Stream, config: Any) -> None:
    found = _match(stream, config["matcher"])
    if found is None:
        raise Answered(403, "rbac_access_denied_matched_policy[none]")
    stream.metadata.setdefault(RBAC, {})[f"{config.get('rules_stat_prefix', '')}enforced_effective_policy_id"] = found["name"]
    if found["action"] != "ALLOW":
        raise Answered(403, f"rbac_access_denied_matched_policy[{found['name']}]")


def _match(stream: Stream, matcher: Any) -> Any:
    """The action, or ``None`` where nothing matched: then what is around it goes on."""
    for on_match in _candidates(stream, matcher):
        if "action" in on_match:
            return on_match["action"]["typed_config"]
        if (found := _match(stream, on_match["matcher"])) is not None:
            return found
    return None


def _candidates(stream: Stream, matcher: Any) -> Iterator[Any]:
    if "matcher_tree" in matcher:
        tree = matcher["matcher_tree"]
        value = _input(stream, tree["input"])
        entries = tree["exact_match_map"]["map"]
        if isinstance(value, str) and value in entries:
            yield entries[value]
    for case in matcher.get("matcher_list", {}).get("matchers", []):
        if _holds(stream, case["predicate"]):
            yield case["on_match"]
    if "on_no_match" in matcher:
        yield matcher["on_no_match"]


def _input(stream: Stream, given: Any) -> Any:
    config = given["typed_config"]
    match config["@type"].rsplit(".", 1)[-1]:
        case "HttpRequestHeaderMatchInput":
            return stream.header(config["header_name"])
        case "DynamicMetadataInput":
            return value_at(stream.metadata.get(config["filter"], {}), [step["key"] for step in config["path"]])
        case "HttpAttributesCelMatchInput":
            return None
        case "DnsSanInput":
            return stream.names("dns:")
        case "UriSanInput":
            return stream.names("uri:")
        case "SubjectInput":
            return None if stream.certificate is None else SUBJECT
        case _:
            raise NotImplementedError(config["@type"])


def _holds(stream: Stream, predicate: Any) -> bool:
    match predicate:
        case {"and_matcher": {"predicate": several}}:
            return all(_holds(stream, one) for one in several)
        case {"or_matcher": {"predicate": several}}:
            return any(_holds(stream, one) for one in several)
        case {"not_matcher": one}:
            return not _holds(stream, one)
        case {"single_predicate": {"input": given, "value_match": test}}:
            value = _input(stream, given)
            return isinstance(value, str) and text_matches(test, value)
        case {"single_predicate": {"input": given, "custom_match": {"typed_config": config}}}:
            if config["@type"].endswith(".Metadata"):
                return _value_matches(config["value"], _input(stream, given))
            if config["@type"].endswith(".CelMatcher"):
                return _evaluates_true(stream, config["expr_match"]["cel_expr_parsed"]["expr"])
            raise NotImplementedError(config["@type"])
        case _:
            raise NotImplementedError(str(predicate))


def _value_matches(test: Any, value: Any) -> bool:
    match test:
        case {"string_match": wanted}:
            return isinstance(value, str) and text_matches(wanted, value)
        case {"present_match": True}:
            return value is not ABSENT
        case {"list_match": {"one_of": wanted}}:
            return isinstance(value, (list, tuple)) and any(_value_matches(wanted, item) for item in value)
        case _:
            raise NotImplementedError(str(test))


class _CelError(Exception):
    """An evaluation error, which never matches."""


def _evaluates_true(stream: Stream, expr: Any) -> bool:
    try:
        return _evaluate(stream, expr) is True
    except _CelError:
        return False


def _evaluate(stream: Stream, expr: Any) -> Any:
    match {k: v for k, v in expr.items() if k != "id"}:
        case {"const_expr": {"int64_value": number}}:
            return int(number)
        case {"const_expr": {"string_value": text}}:
            return text
        case {"select_expr": {"operand": {"ident_expr": {"name": "request"}}, "field": "headers"}}:
            return stream
        case {"call_expr": {"function": function, "args": args}}:
            return _apply(function, [_evaluate(stream, arg) for arg in args])
        case _:
            raise NotImplementedError(str(expr))


def _apply(function: str, args: list[Any]) -> Any:
    match function, args:
        case "_[_]", [Stream() as stream, str() as name]:
            if (value := stream.header(name)) is None:
                raise _CelError(name)
            return value
        case "int", [str() as text]:
            if not re.fullmatch(r"-?[0-9]+", text) or abs(int(text)) >= 2**63:
                raise _CelError(text)
            return int(text)
        case "_-_", [int() as one, int() as other]:
            return one - other
        case "_+_", [int() as one, int() as other]:
            return one + other
        case "_<=_", [int() as one, int() as other]:
            return one <= other
        case _:
            raise NotImplementedError(f"{function}({args})")
