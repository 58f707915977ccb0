"""Every rule for requests: exact bytes from a hostile caller, exact bytes at the upstream or nothing."""

from __future__ import annotations

import pytest

from tests.support.tunnel import Tunnel

from .check import check_request
from .request_forwarding import FORWARDING, LISTED
from .request_framing import FRAMING
from .request_hops import HOPS
from .request_routing import ROUTING
from .request_syntax import SYNTAX
from .rows import RequestRow

ROWS = [*SYNTAX, *FRAMING, *ROUTING, *HOPS, *FORWARDING]


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_a_request(tunnel: Tunnel, path: str, row: RequestRow) -> None:
    check_request(tunnel, path, row)


@pytest.mark.parametrize("row", LISTED, ids=[row.id for row in LISTED])
def test_a_request_of_a_listed_proxy(lenient: Tunnel, path: str, row: RequestRow) -> None:
    check_request(lenient, path, row)
