from __future__ import annotations

import pytest

from protocol.signatures.nonces import MemoryFull, Nonces, Replayed

NOW = 1_000_000


def test_a_nonce_counts_once_for_each_signer() -> None:
    nonces = Nonces(300)
    nonces.use("booking", "n1", NOW, NOW)
    nonces.use("money", "n1", NOW, NOW)
    nonces.use("booking", "n2", NOW, NOW)
    for created in (NOW, NOW + 5):
        with pytest.raises(Replayed, match="was used before"):
            nonces.use("booking", "n1", created, NOW + 10)
    assert len(nonces) == 3


def test_it_is_remembered_as_long_as_its_signature_may_be_accepted() -> None:
    nonces = Nonces(300)
    nonces.use("a", "n", NOW + 300, NOW)  # by a caller whose clock is ahead
    with pytest.raises(Replayed):
        nonces.use("a", "n", NOW + 300, NOW + 600)
    nonces.use("a", "other", NOW + 601, NOW + 601)
    assert len(nonces) == 1


def test_what_is_forgotten_stays_refused_though_the_clock_be_set_back() -> None:
    nonces = Nonces(300)
    nonces.use("a", "n", NOW, NOW)
    nonces.use("a", "m", NOW + 400, NOW + 400)
    assert len(nonces) == 1
    for nonce in ("n", "never seen"):
        with pytest.raises(Replayed, match="older than others"):
            nonces.use("a", nonce, NOW, NOW)
    nonces.use("a", "n", NOW + 1, NOW + 2)


def test_one_freed_may_come_again() -> None:
    nonces = Nonces(300)
    key = nonces.use("a", "n", NOW, NOW)
    nonces.free(key)
    nonces.free(key)
    nonces.use("a", "n", NOW, NOW)


def test_the_memory_is_bounded() -> None:
    nonces = Nonces(300, limit=3)
    for number in range(3):
        key = nonces.use("a", str(number), NOW, NOW)
    with pytest.raises(MemoryFull):
        nonces.use("a", "3", NOW, NOW)
    with pytest.raises(Replayed):  # what is known is still said
        nonces.use("a", "0", NOW, NOW)
    nonces.free(key)
    nonces.use("a", "3", NOW, NOW)
    nonces.use("a", "4", NOW + 301, NOW + 301)
    assert len(nonces) == 1
