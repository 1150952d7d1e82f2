"""Where a call lands: the gateway's own name, the API at the path, the rule for method and path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from scopeward.policy.model import Api, Policy, Rule
from scopeward.policy.path import Template, join, parse_at, parse_template, split_path
from scopeward.policy.url import parse_url


def hosts(policy: Policy) -> frozenset[str]:
    """The names under which the gateway answers: that of ``public_url``, and where it is loopback, every name of that."""
    url = parse_url(policy.public_url)
    own = {f"[{url.host}]" if ":" in url.host else url.host.lower()}
    return frozenset(own | {"127.0.0.1", "localhost", "[::1]"}) if url.loopback else frozenset(own)


def api_at(policy: Policy, path: str) -> Api | None:
    """The API whose ``at`` is the longest prefix of the path, segment by segment; there is no falling back to a shorter one."""
    parts = split_path(path)
    if parts is None:
        return None
    homes = [(parse_at(api.at).segments, api) for api in policy.apis]
    around = [(len(at), api) for at, api in homes if tuple(s.text for s in at) == parts[: len(at)]]
    return max(around, key=lambda found: found[0])[1] if around else None


def odd(path: str, api: Api) -> bool:
    """Whether servers read the path in different ways: some strip, decode or fold what it holds, and so reach another resource."""
    below = path if api.at == "/" else path[len(api.at) :]
    lowered = below.lower()
    escapes = re.findall("%(..)?", lowered, re.DOTALL)
    never = any(not re.fullmatch("[0-9a-f]{2}", e) or e < "20" or e in {"7f", "c0", "c1"} or e >= "f5" for e in escapes)
    never = never or re.search("%(e0%[89]|f0%8)", lowered) is not None  # longer than UTF-8 needs (RFC 3629 section 3)
    forms = {
        "semicolon": ";" in lowered or "3b" in escapes,
        "percent": "25" in escapes,
        "space": "20" in escapes,
        "dot": any(part.endswith(".") for part in lowered.split("/")),
    }
    return never or any(there and form not in api.allow for form, there in forms.items())


def spelt_otherwise(policy: Policy, api: Api, path: str) -> bool:
    """Whether the path, at this API, is another spelling of the way to an API that lives below it."""
    at = parse_at(api.at).segments
    homes = [parse_at(other.at) for other in policy.apis]
    below = [join(home, parse_template("/**")) for home in homes if home.segments[: len(at)] == at and len(home.segments) > len(at)]
    return any(_is_spelling(path, template, api) for template in below)


def rule_for(api: Api, method: str, path: str) -> Rule | None:
    """The rule for a call of this API: the most specific template over all methods, then the method; HEAD follows GET.

    None also where the path is another spelling of a more specific template, of which some could be taken for a rule that asks less.
    """
    if api.slash == "same" and path != "/":
        path = path.removesuffix("/")
    rules: dict[Template, dict[str, Rule]] = {}
    for rule in api.rules:
        template = _full(api, rule.template)
        same = next((t for t in rules if t.shape == template.shape), template)
        rules.setdefault(same, {})[rule.method] = rule
    best = min((t for t in rules if t.matches(path)), key=lambda t: t.specificity, default=None)
    if best is None:
        return None
    for template, asked in rules.items():
        if template.specificity < best.specificity and _is_spelling(path, template, api) and _guarded(template, asked, rules):
            return None
        slashed = None if api.slash == "same" else template.with_slash()
        if slashed and slashed.specificity < best.specificity and _is_spelling(path, slashed, api) and _guards_slash(slashed, asked, rules):
            return None
    return rules[best].get(method) or (rules[best].get("GET") if method == "HEAD" else None)


def _is_spelling(path: str, template: Template, api: Api) -> bool:
    """Whether some server takes the path for one of the template's: unescaped, and unless the API is ``case: sensitive``, in letters of any case."""
    plain = re.sub("%(21|24|2b|2c|3a|3d|40)", lambda found: chr(int(found.group(1), 16)), path, flags=re.IGNORECASE)
    if api.case == "guarded":
        # Unicode folds these to letters of ASCII
        for escaped, letter in (("%e2%84%aa", "k"), ("%c5%bf", "s"), ("%c4%b0", "i"), ("%c4%b1", "i")):
            plain = re.sub(escaped, letter, plain, flags=re.IGNORECASE)
    return template.matches(plain, any_case=api.case == "guarded")


def _guarded(spelling: Template, asked: Mapping[str, Rule], rules: Mapping[Template, Mapping[str, Rule]]) -> bool:
    """Whether a less specific template that the spelling falls to lets more through."""
    return any(other.meets(spelling) and _asks_less(easier, asked) for other, easier in rules.items())


def _guards_slash(slashed: Template, asked: Mapping[str, Rule], rules: Mapping[Template, Mapping[str, Rule]]) -> bool:
    """Most servers take a path with a slash at its end for the one without. A rule that is written with the slash is meant."""
    if any(other.shape == slashed.shape for other in rules):
        return False
    falling = sorted((t for t in rules if t.meets(slashed)), key=lambda t: t.specificity)
    whole = next((n for n, t in enumerate(falling) if t.contains(slashed)), len(falling))
    return any(_asks_less(rules[t], asked) for t in falling[: whole + 1])


def _asks_less(others: Mapping[str, Rule], rules: Mapping[str, Rule]) -> bool:
    for method, other in others.items():
        rule = rules.get(method)
        if rule is None or (rule.stream is not None and rule.stream != other.stream):
            return True
        same = set(rule.needs) == set(other.needs) and set(rule.to.kinds) == set(other.to.kinds) and set(rule.to.clients) == set(other.to.clients)
        if rule.public is None and (other.public is not None or not same):
            return True
    return False


def _full(api: Api, template: str) -> Template:
    joined = _joined(api.at, template)
    return joined.without_slash() if api.slash == "same" else joined


@lru_cache(maxsize=4096)
def _joined(at: str, template: str) -> Template:
    return join(parse_at(at), parse_template(template))
