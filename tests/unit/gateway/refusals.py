"""How the gateway's tests look at a refusal: what it says, and that it gives nothing away."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from tunnel_hub.gateway.bearer import INVALID
from tunnel_hub.gateway.grant import Unauthenticated


def refused(work: Callable[[], object], *secrets: bytes) -> Unauthenticated:
    """The Unauthenticated that `work` raises: one sentence, and no part of `secrets` anywhere in it."""
    with pytest.raises(Unauthenticated) as caught:
        work()
    error = caught.value
    assert error.reason[0].isupper() or error.reason.startswith("iat skew")
    assert error.reason.endswith(".")
    assert "\n" not in error.reason
    link: BaseException | None = error
    told = "".join(traceback.format_exception(error)) + error.reason + error.cause
    while link is not None:
        told += repr(link) + repr(vars(link))
        link = link.__context__
    for secret in secrets:
        for piece in secret.split(b"."):
            if len(piece) >= 16:
                assert piece.decode("latin-1") not in told
    return error


def refused_blindly(work: Callable[[], object], *secrets: bytes) -> Unauthenticated:
    """The same, with the one sentence that says nothing."""
    error = refused(work, *secrets)
    assert error.reason == INVALID
    assert error.cause != INVALID
    return error


def row(_value: object) -> str:
    """Test ids without the values, which are long or made anew in every process."""
    return "row"
