"""The path policy: byte for byte to the upstream, or refused; exceptions only where a service has them."""

from __future__ import annotations

import pytest

from tests.support.tunnel import Tunnel

from .check import check_request
from .path_rows import EXCEPTIONS, PATHS
from .rows import RequestRow


@pytest.mark.parametrize("row", PATHS, ids=[row.id for row in PATHS])
def test_a_path(tunnel: Tunnel, path: str, row: RequestRow) -> None:
    check_request(tunnel, path, row)


@pytest.mark.parametrize("row", EXCEPTIONS, ids=[row.id for row in EXCEPTIONS])
def test_a_path_of_a_service_with_exceptions(lenient: Tunnel, path: str, row: RequestRow) -> None:
    check_request(lenient, path, row)
