from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.kit.tokens import Mint
from tests.kit.upstream import RecordingUpstream

# the same examples each time: a run tells of the change, and not of luck; the thorough run looks further
settings.register_profile("repeatable", derandomize=not os.environ.get("SCOPEWARD_THOROUGH"), database=None, deadline=None)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files with what is compiled and answered now")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker a file: the tests of a file share a running gateway, and each costs inotify instances of which a user has few."""
    from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415  # the plugin may be switched off

    return LoadFileScheduling(config, log)


@pytest.fixture(scope="session")
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def mint() -> Mint:
    return Mint()


@pytest.fixture
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running
