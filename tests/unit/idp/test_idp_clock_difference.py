"""The Date header, as providers and others may write it."""

from __future__ import annotations

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeward.idp.clock_difference import clock_difference

NOV_6 = 784_111_777.0  # RFC 9110 section 5.6.7


@pytest.mark.parametrize("date", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_the_three_forms(date: str) -> None:
    assert clock_difference(httpx2.Headers({"Date": date}), NOV_6 - 10, NOV_6 - 10) == 10


@pytest.mark.parametrize(
    "date", ["", "x", "0", "Sun, 06 Nov 99999 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 +99999999999999", "Sun, 06 Nov 1994 08:49:37 GMT" + " " * 99]
)
def test_no_date(date: str) -> None:
    assert clock_difference(httpx2.Headers({"Date": date}), NOV_6, NOV_6) is None
    assert clock_difference(httpx2.Headers(), NOV_6, NOV_6) is None


@pytest.mark.parametrize(("age", "known"), [("0", True), (" 0 ", True), ("1", False), ("x", False)])
def test_an_answer_out_of_a_cache_tells_nothing(age: str, known: bool) -> None:
    headers = httpx2.Headers({"Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Age": age})
    assert (clock_difference(headers, NOV_6, NOV_6) is not None) is known


@given(st.floats(0, 0.999))
def test_equal_clocks_differ_by_nothing(fraction: float) -> None:
    assert clock_difference(httpx2.Headers({"Date": "Sun, 06 Nov 1994 08:49:37 GMT"}), NOV_6 + fraction, NOV_6 + fraction) == 0


@given(st.text(st.characters(max_codepoint=255), max_size=80))
def test_no_text_breaks_it(date: str) -> None:
    clock_difference(httpx2.Headers([(b"Date", date.encode("latin-1"))]), NOV_6, NOV_6)
