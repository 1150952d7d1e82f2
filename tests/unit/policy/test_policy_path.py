from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeward.policy.path import TemplateError, join, parse_at, parse_template


@pytest.mark.parametrize(
    ("template", "path", "fits"),
    [
        ("/", "/", True),
        ("/", "", False),
        ("/", "//", False),
        ("/a", "/a", True),
        ("/a", "/a/", False),
        ("/a/", "/a/", True),
        ("/a/", "/a", False),
        ("/a", "/A", False),
        ("/a", "a", False),
        ("/{x}", "/a", True),
        ("/{x}", "/", False),
        ("/{x}", "/a/", False),
        ("/{x}/", "/a/", True),
        ("/{x}/b", "//b", False),
        ("/{x}/b", "/a/b", True),
        ("/{x}/b", "/a/c", False),
        ("/**", "/", True),
        ("/**", "/a/b/", True),
        ("/a/**", "/a", True),
        ("/a/**", "/a/", True),
        ("/a/**", "/ab", False),
        ("/a/{x}/**", "/a", False),
        ("/a/{x}/**", "/a/", False),
        ("/a/{x}/**", "/a/b", True),
        ("/a/{x}/**", "/a/b/c/d", True),
    ],
)
def test_which_paths_a_template_matches(template: str, path: str, fits: bool) -> None:
    assert parse_template(template).matches(path) is fits


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must begin with '/'"),
        ("a", "must begin with '/'"),
        ("//", "must not hold '//'"),
        ("/a//b", "must not hold '//'"),
        ("/a/./b", "must not hold '.' or '..' as a segment"),
        ("/..", "must not hold '.' or '..' as a segment"),
        ("/a;v=1", "holds ';'; a segment takes letters, digits and any of - . _ ~ : @ + , = $ !"),
        ("/a%2fb", "holds '%'; a segment takes letters, digits and any of - . _ ~ : @ + , = $ !"),
        ("/a b", "holds ' '; a segment takes letters, digits and any of - . _ ~ : @ + , = $ !"),
        ("/é", "holds '\\xe9'; a segment takes letters, digits and any of - . _ ~ : @ + , = $ !"),
        ("/a\n", "holds '\\n'; a segment takes letters, digits and any of - . _ ~ : @ + , = $ !"),
        ("/a?b", "holds '?'; a segment takes letters, digits and any of - . _ ~ : @ + , = $ !"),
        ("/*", "may hold '*' only as a last segment '**'; one segment is '{name}'"),
        ("/a**", "may hold '*' only as a last segment '**'; one segment is '{name}'"),
        ("/**/a", "may hold '**' only as its last segment"),
        ("/**/", "may hold '**' only as its last segment"),
        ("/x{a}", "holds braces that are not one whole segment, such as '{id}'"),
        ("/{}", "holds braces that are not one whole segment, such as '{id}'"),
        ("/{a}/{a}", "uses a parameter's name twice"),
    ],
)
def test_what_is_no_template(text: str, why: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_template(text)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("text", "why"), [("/a/", "must not end in '/'"), ("/{a}", "must be without '{parameters}' and '**'"), ("/**", "must be without '{parameters}' and '**'")]
)
def test_what_is_no_place_of_an_api(text: str, why: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_at(text)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("at", "template", "full"), [("/", "/", "/"), ("/", "/**", "/**"), ("/a", "/", "/a"), ("/a/b", "/{x}", "/a/b/{x}"), ("/a", "/b/", "/a/b/")]
)
def test_join(at: str, template: str, full: str) -> None:
    joined = join(parse_at(at), parse_template(template))
    assert str(joined) == full
    assert joined == parse_template(full)


def test_the_leftmost_literal_wins() -> None:
    left, right = parse_template("/a/{x}"), parse_template("/{y}/b")
    assert left.matches("/a/b")
    assert right.matches("/a/b")
    assert left.specificity < right.specificity


def test_a_template_that_ends_before_one_that_goes_on() -> None:
    assert parse_template("/a").specificity < parse_template("/a/**").specificity
    assert parse_template("/a/{x}").specificity < parse_template("/a/**").specificity


SEGMENTS = st.lists(st.sampled_from(["a", "b", "{x}", "{y}"]), max_size=3, unique=True)
TEMPLATES = st.builds(lambda parts, end: "/" + "/".join([*parts, *end]), SEGMENTS, st.sampled_from([[], ["**"], [""]])).filter(lambda t: "//" not in t)


@given(TEMPLATES, TEMPLATES)
def test_no_two_templates_of_one_path_are_tied_unless_their_shapes_are_equal(one: str, two: str) -> None:
    a, b = parse_template(one), parse_template(two)
    parts = ["a", "b", "z", ""]
    paths = {"/" + "/".join(p) for n in range(5) for p in itertools.product(parts, repeat=n)}
    if any(a.matches(p) and b.matches(p) for p in paths):
        assert (a.specificity == b.specificity) == (a.shape == b.shape)


IN_ANY_CASE = st.builds(
    lambda parts, end: "/" + "/".join([*parts, *end]),
    st.lists(st.sampled_from(["a", "A", "b", "{x}", "{y}"]), max_size=3, unique=True),
    st.sampled_from([[], ["**"], [""]]),
).filter(lambda t: "//" not in t)
PATHS = ["/" + "/".join(parts) for n in range(5) for parts in itertools.product(["a", "A", "b", "B", ""], repeat=n)]


@given(IN_ANY_CASE, IN_ANY_CASE)
def test_a_template_meets_another_where_a_spelling_of_it_is_one_of_its_own_paths(one: str, other: str) -> None:
    a, b = parse_template(one), parse_template(other)
    shared = any(a.matches(path) and b.matches(path, any_case=True) for path in PATHS)
    assert a.meets(b) == (a.specificity > b.specificity and shared)


@given(IN_ANY_CASE)
def test_in_any_case_a_template_matches_the_same_paths_as_in_lower_case(text: str) -> None:
    template, lower = parse_template(text), parse_template(text.lower())
    for path in PATHS:
        assert template.matches(path, any_case=True) == lower.matches(path.lower())


@pytest.mark.parametrize(("path", "fits"), [("/KEYS", True), ("/keys", True), ("/\u212aeys", False), ("/key\u017f", False), ("/%4beys", False)])
def test_only_letters_of_ascii_have_another_case(path: str, fits: bool) -> None:
    assert parse_template("/keys").matches(path, any_case=True) is fits


@pytest.mark.parametrize(
    ("template", "escaped", "in_case"),
    [("/", False, False), ("/a", False, True), ("/1.2_~-", False, False), ("/{x}/**", False, False), ("/{Id}", False, False)]
    + [(f"/{{x}}/1{character}", True, True) for character in ":@+,=$!"],
)
def test_what_can_be_spelt_in_another_way(template: str, escaped: bool, in_case: bool) -> None:
    assert parse_template(template).has_spellings(any_case=False) is escaped
    assert parse_template(template).has_spellings(any_case=True) is in_case


@pytest.mark.parametrize(("template", "without"), [("/", "/"), ("/a", "/a"), ("/a/", "/a"), ("/{x}/", "/{x}"), ("/a/**", "/a/**")])
def test_without_a_slash_at_the_end(template: str, without: str) -> None:
    assert parse_template(template).without_slash() == parse_template(without)


@pytest.mark.parametrize(("template", "slashed"), [("/", "/"), ("/a", "/a/"), ("/a/{x}", "/a/{x}/"), ("/a/", None), ("/**", None), ("/a/**", None)])
def test_with_a_slash_at_the_end(template: str, slashed: str | None) -> None:
    found = parse_template(template).with_slash()
    assert (found and str(found)) == slashed


@given(TEMPLATES)
def test_a_template_reads_as_it_is_written(text: str) -> None:
    assert str(parse_template(text)) == text
