"""The forms of Envoy's API that the filters are built from: typed configs, matchers, and RBAC filters used as lookup tables.

An RBAC filter in matcher form whose actions are all ALLOW decides nothing: it is a table, and the *name* of the action that matched is
its value. It lands in dynamic metadata under ``<prefix>_enforced_effective_policy_id``, where later filters and the log read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]

RBAC_METADATA = "envoy.filters.http.rbac"
JWT_METADATA = "envoy.filters.http.jwt_authn"
RBAC_TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"


def typed(message: str, **fields: Any) -> Json:
    """A ``google.protobuf.Any`` in JSON form."""
    return {"@type": f"type.googleapis.com/{message}", **fields}


def action(name: str, verb: str = "ALLOW") -> Json:
    """An on_match that names its outcome."""
    return {"action": {"name": "action", "typed_config": typed("envoy.config.rbac.v3.Action", name=name, action=verb)}}


def nested(matcher: Json) -> Json:
    """An on_match that asks further. A nested matcher that misses falls to the *outer* on_no_match, so it must have its own."""
    return {"matcher": matcher}


def header_input(name: str) -> Json:
    """A request header as input of a matcher."""
    return {"name": "header", "typed_config": typed("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)}


def header(name: str, **value_match: Any) -> Json:
    """A predicate over a request header: ``exact=``, ``prefix=``, ``contains=`` …; an absent header never matches."""
    return {"single_predicate": {"input": header_input(name), "value_match": value_match}}


def header_present(name: str) -> Json:
    """A predicate: the header is there and not empty."""
    return header(name, safe_regex=regex("(?s).+"))


def regex(pattern: str) -> Json:
    """A RE2 pattern that must match the whole value. xds.type.matcher demands that the engine be named."""
    return {"google_re2": {}, "regex": pattern}


def metadata(namespace: str, path: Iterable[str], value: Json) -> Json:
    """A predicate over dynamic metadata. (The same input at a matcher *tree* is accepted by Envoy and never matches.)"""
    source = typed("envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput", filter=namespace, path=[{"key": key} for key in path])
    return {
        "single_predicate": {
            "input": {"name": "metadata", "typed_config": source},
            "custom_match": {"name": "metadata", "typed_config": typed("envoy.extensions.matching.input_matchers.metadata.v3.Metadata", value=value)},
        }
    }


def outcome(table: str, **string_match: Any) -> Json:
    """A predicate over the value that an earlier table gave."""
    return metadata(RBAC_METADATA, [f"{table}_enforced_effective_policy_id"], {"string_match": string_match})


def all_of(*predicates: Json) -> Json:
    """Logical and; the schema wants two or more for the long form."""
    return predicates[0] if len(predicates) == 1 else {"and_matcher": {"predicate": list(predicates)}}


def any_of(*predicates: Json) -> Json:
    """Logical or; the schema wants two or more for the long form."""
    return predicates[0] if len(predicates) == 1 else {"or_matcher": {"predicate": list(predicates)}}


def negate(predicate: Json) -> Json:
    """Logical not."""
    return {"not_matcher": predicate}


def choose(cases: Iterable[tuple[Json, Json]], otherwise: Json) -> Json:
    """The first case whose predicate holds, else ``otherwise``."""
    matchers = [{"predicate": predicate, "on_match": on_match} for predicate, on_match in cases]
    return {"matcher_list": {"matchers": matchers}, "on_no_match": otherwise} if matchers else {"on_no_match": otherwise}


def look_up(header_name: str, entries: Mapping[str, Json], otherwise: Json) -> Json:
    """An exact map on a header, in constant time whatever its size."""
    if not entries:  # the schema refuses an empty map
        return {"on_no_match": otherwise}
    return {"matcher_tree": {"input": header_input(header_name), "exact_match_map": {"map": dict(entries)}}, "on_no_match": otherwise}


def table(prefix: str, matcher: Json) -> Json:
    """An RBAC filter's config in matcher form."""
    return {"@type": RBAC_TYPE, "rules_stat_prefix": f"{prefix}_", "matcher": matcher}


def set_header(name: str, value: str) -> Json:
    """A header mutation that leaves exactly this value."""
    return {"append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}


def file_source(folder: str, name: str) -> Json:
    """A config source that Envoy reads again when a file is renamed into its folder; a folder of its own, since every rename wakes it."""
    return {"path_config_source": {"path": f"{folder}/{name}", "watched_directory": {"path": folder}}, "resource_api_version": "V3"}
