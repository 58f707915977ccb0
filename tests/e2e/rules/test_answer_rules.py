"""Every rule for answers: exact bytes from a hostile upstream to the agent, and what the caller makes of them."""

from __future__ import annotations

import pytest

from tests.support.tunnel import Tunnel

from .answer_framing import FRAMING
from .answer_semantics import SEMANTICS
from .answer_syntax import SYNTAX
from .check import check_answer
from .rows import AnswerRow

ROWS = [*SYNTAX, *FRAMING, *SEMANTICS]
REDIRECTS = [row for row in ROWS if row.rule == "redirect"]
OTHERS = [row for row in ROWS if row.rule != "redirect"]


@pytest.mark.parametrize("row", OTHERS, ids=[row.id for row in OTHERS])
def test_an_answer(tunnel: Tunnel, path: str, row: AnswerRow) -> None:
    check_answer(tunnel, path, row)


@pytest.mark.bug(17)
@pytest.mark.parametrize("row", REDIRECTS, ids=[row.id for row in REDIRECTS])
def test_a_redirect_is_not_followed(tunnel: Tunnel, path: str, row: AnswerRow) -> None:
    check_answer(tunnel, path, row)
