from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.tokens import Mint
from tests.kit.upstream import RecordingUpstream


@pytest.fixture(scope="session")
def mint() -> Mint:
    return Mint()


@pytest.fixture
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running
