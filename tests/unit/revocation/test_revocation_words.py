"""What people write and what is meant: times and names."""

from __future__ import annotations

import pytest

from scopeward.errors import ScopewardError
from scopeward.revocation.instant import read_absolute, read_instant, write_instant
from scopeward.revocation.names import Meant, NamedClient, Names

NOW = 1_800_000_000.25  # 2027-01-15T08:00:00.25Z
DAY = 86_400


# ── times ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", 1_800_000_001),
        ("0s", 1_800_000_001),
        ("5m", 1_799_999_701),
        ("1h", 1_799_996_401),
        ("2d", 1_799_827_201),
        ("1700000000", 1_700_000_000),
        ("2027-01-15T08:00:00Z", 1_800_000_000),
        ("2027-01-15t08:00:00z", 1_800_000_000),
        ("2027-01-15 08:00:00Z", 1_800_000_000),
        ("2027-01-15T10:00:00+02:00", 1_800_000_000),
        ("2027-01-15T03:30:00-04:30", 1_800_000_000),
        ("2027-01-15T08:00:00.000Z", 1_800_000_000),
        ("2027-01-15T08:00:00.001Z", 1_800_000_001),
    ],
)
def test_times(text: str, seconds: int) -> None:
    assert read_instant("--issued-before", text, NOW, NOW + DAY) == seconds


NO_TIMES = [
    "",
    " now",
    "NOW",
    "yesterday",
    "-5m",
    "5",
    "5.5h",
    "5w",
    "1800000000.5",
    "18e8",
    "1800000000000",
    "9" * 15,
    "9" * 400,
    "0",
    "2027-01-15",
    "2027-01-15T08:00:00",
    "2027-01-15T08:00Z",
    "2027-02-30T08:00:00Z",
    "2027-01-15T25:00:00Z",
    "2027-01-15T08:00:60Z",
    "2027-01-15T08:00:00+25:00",
    "20270115T080000Z",
    "2027-W02-5",
    "0001-01-01T00:00:00+23:59",
    "1999-12-31T23:59:59Z",
    "9999-12-31T23:59:59Z",
    "2027-01-17T08:00:00Z",
    "999999d",
    "２０２７-01-15T08:00:00Z",
    "\u0661\u0662\u0663m",
]


@pytest.mark.parametrize("text", NO_TIMES)
def test_no_times(text: str) -> None:
    with pytest.raises(ScopewardError) as caught:
        read_instant("--issued-before", text, NOW, NOW + DAY)
    assert caught.value.reference.id == "revocation-invalid"
    assert caught.value.what.startswith("--issued-before: ")
    assert len(caught.value.what) < 600


@pytest.mark.parametrize("text", ["now", "5m", "0s"])
def test_a_time_to_come_is_never_a_time_ago(text: str) -> None:
    with pytest.raises(ScopewardError) as caught:
        read_absolute("--expires", text, NOW + DAY)
    assert caught.value.reference.id == "revocation-invalid"
    assert "5m" not in caught.value.remedy


def test_writing_a_time() -> None:
    assert write_instant(1_800_000_000) == "2027-01-15T08:00:00Z"
    assert write_instant(1_800_000_000.5) == "2027-01-15T08:00:01Z"
    assert write_instant(1e30)


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

MAIN, OTHER = "https://login.example.test", "https://other.example.test/"
ONE = Names({"main": MAIN}, {"web": NamedClient("main", "0oa1"), "0oa2": NamedClient("main", "0oa3")})
TWO = Names({"main": MAIN, "other": OTHER}, {"web": NamedClient("other", "0oa1")})


@pytest.mark.parametrize(
    ("names", "given", "issuer"),
    [(ONE, None, MAIN), (ONE, "main", MAIN), (ONE, MAIN, MAIN), (TWO, "other", OTHER), (TWO, OTHER, OTHER), (Names(), MAIN, MAIN), (Names(), OTHER, OTHER)],
)
def test_the_issuer_that_is_meant(names: Names, given: str | None, issuer: str) -> None:
    assert names.issuer(given) == issuer


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (ONE, "mian"),
        (ONE, MAIN + "/"),  # would revoke nothing
        (ONE, ""),
        (TWO, None),
        (TWO, OTHER.rstrip("/")),
        (Names(), None),
        (Names(), "main"),
        (Names(), ""),
        (Names(), "https://login example"),
    ],
)
def test_an_issuer_that_is_not_known(names: Names, given: str | None) -> None:
    with pytest.raises(ScopewardError) as caught:
        names.issuer(given)
    assert caught.value.reference.id == "revocation-invalid"
    assert all(issuer in caught.value.remedy for issuer in names.issuers.values())


def test_the_client_that_is_meant() -> None:
    assert ONE.client("web", None) == Meant(MAIN, "0oa1", "web")
    assert ONE.client("0oa1", None) == Meant(MAIN, "0oa1", None)
    assert ONE.client("0oa2", None) == Meant(MAIN, "0oa3", "0oa2")  # a name wins
    assert ONE.client("unlisted", "main") == Meant(MAIN, "unlisted", None)
    assert TWO.client("web", None) == Meant(OTHER, "0oa1", "web")  # its name says whose it is
    assert TWO.client("web", OTHER) == Meant(OTHER, "0oa1", "web")
    assert Names().client("web", MAIN) == Meant(MAIN, "web", None)


@pytest.mark.parametrize(("names", "given", "issuer"), [(TWO, "web", "main"), (TWO, "0oa1", None), (TWO, "web", "nobody"), (Names(), "web", None)])
def test_a_client_whose_issuer_is_not_known(names: Names, given: str, issuer: str | None) -> None:
    with pytest.raises(ScopewardError) as caught:
        names.client(given, issuer)
    assert caught.value.reference.id == "revocation-invalid"


def test_the_name_of_an_issuer() -> None:
    assert (TWO.issuer_name(OTHER), TWO.issuer_name("https://nobody"), Names().issuer_name(MAIN)) == ("other", None, None)
