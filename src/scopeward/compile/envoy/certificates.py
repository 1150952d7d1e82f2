"""Certificates: what callers are shown, what they must show, and what upstreams are shown. Keys travel as secrets (SDS), never in a listener."""

from __future__ import annotations

import re

from scopeward.compile.envoy.proto import Json, any_of, file_source, regex, typed
from scopeward.compile.snapshot import Edge, TlsMaterial, digest
from scopeward.policy.model import ClientCertificate

LISTENER = "listener"
CLIENT_CA = "client-ca"
CA_BUNDLE = "ca-bundle"

_TLS = "envoy.extensions.transport_sockets.tls.v3"
_SSL = "envoy.extensions.matching.common_inputs.ssl.v3"


def secrets(edge: Edge) -> dict[str, Json]:
    """All secrets of a node, by name."""
    found: dict[str, Json] = {}
    if edge.tls is not None:
        found[LISTENER] = _pair(LISTENER, edge.tls)
    if edge.client_ca is not None:
        found[CLIENT_CA] = typed(f"{_TLS}.Secret", name=CLIENT_CA, validation_context={"trusted_ca": {"inline_string": edge.client_ca}})
    if edge.ca_bundle is not None:
        found[CA_BUNDLE] = typed(f"{_TLS}.Secret", name=CA_BUNDLE, validation_context={"trusted_ca": {"inline_string": edge.ca_bundle}})
    for reference, material in edge.upstream_tls.items():
        name = upstream_secret(reference)
        found[name] = _pair(name, material)
    return found


def upstream_secret(reference: str) -> str:
    """The name of the secret that the policy's reference stands for."""
    return f"upstream-{digest(reference)}"


def _pair(name: str, material: TlsMaterial) -> Json:
    chain, key = {"inline_string": material.certificate}, {"inline_string": material.private_key.reveal()}
    return typed(f"{_TLS}.Secret", name=name, tls_certificate={"certificate_chain": chain, "private_key": key})


def secret_source(name: str, xds: str) -> Json:
    """Where Envoy reads a secret, and reads it again when it is replaced."""
    return {"name": name, "sds_config": file_source(f"{xds}/secrets/{name}", "secret.json")}


def downstream(edge: Edge) -> Json:
    """TLS as callers see it. A client certificate is asked for, and verified where one is shown; who must show one is for the rules."""
    common: Json = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [secret_source(LISTENER, edge.xds)],
    }
    if edge.client_ca is not None:
        common["validation_context_sds_secret_config"] = secret_source(CLIENT_CA, edge.xds)
    config = typed(f"{_TLS}.DownstreamTlsContext", common_tls_context=common, require_client_certificate=False)
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def shown(wanted: ClientCertificate) -> Json:
    """A predicate: the caller showed such a certificate. TLS ended before, where the authorities did not sign the one that was shown."""
    if not wanted.names:
        return any_of(*(_name(kind, "(?s).+") for kind in ("Subject", "DnsSan", "UriSan")))
    # Envoy joins several names of a type by commas, and a name may hold one: only a name that is the only one of its type counts
    asked = []
    for kind, prefix in (("UriSan", "uri:"), ("DnsSan", "dns:")):
        names = [re.escape(name.removeprefix(prefix)) for name in wanted.names if name.startswith(prefix)]
        asked += [_name(kind, "|".join(names))] if names else []
    return any_of(*asked)


def _name(kind: str, pattern: str) -> Json:
    source = {"name": "certificate", "typed_config": typed(f"{_SSL}.{kind}Input")}
    return {"single_predicate": {"input": source, "value_match": {"safe_regex": regex(pattern)}}}
