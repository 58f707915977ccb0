"""Synthetic data: people, prisons, visiting times, photographs, bulk bytes; each a function of its input."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

PRISONS = {
    "LEI": "Leeds (synthetic)",
    "QAA": "Alderwick (synthetic)",
    "QBB": "Brackmoor (synthetic)",
    "QCC": "Corlton (synthetic)",
    "QDD": "Dunscar (synthetic)",
    "QEE": "Eastholm (synthetic)",
    "QFF": "Farrowby (synthetic)",
}
VISITING_TIMES = (("10:00", "11:30"), ("14:00", "15:30"))
SLOT_CAPACITY = 100
OFFENDERS = 200

# A prime just under 64 KiB: no frame size divides it, so swapped or repeated frames always change the hash.
BULK_PERIOD = 65_521

_GIVEN_NAMES = ("Alba", "Bryn", "Corin", "Dara", "Edie", "Ffion", "Glen", "Hollis", "Idris", "Juno", "Keir")
_SURNAMES = (
    "Ashdown",
    "Birtle",
    "Coverley",
    "Drummle",
    "Elvet",
    "Fosse",
    "Garth",
    "Hexley",
    "Ings",
    "Jarrow",
)


class Offender(NamedTuple):
    """A made-up person, with the two identifiers the legacy API uses."""

    id: int
    noms_id: str
    given_name: str
    surname: str
    date_of_birth: str
    prison: str


class Contact(NamedTuple):
    """A made-up visitor of one offender."""

    id: int
    offender_id: int
    given_name: str
    surname: str
    relationship: str


def offenders() -> Iterator[Offender]:
    """Every offender: two that documentation names, then generated ones."""
    yield Offender(1057027, "A1475AE", "Alba", "Ashdown", "1979-04-23", "LEI")
    yield Offender(1057307, "A1484AE", "Bryn", "Birtle", "1984-11-02", "LEI")
    prisons = tuple(PRISONS)
    for i in range(2, OFFENDERS):
        born = dt.date(1960, 1, 1) + dt.timedelta(days=61 * i)
        yield Offender(
            1060000 + i,
            f"A{2000 + i}QQ",
            _GIVEN_NAMES[i % len(_GIVEN_NAMES)],
            _SURNAMES[i % len(_SURNAMES)],
            born.isoformat(),
            prisons[i % len(prisons)],
        )


def contacts() -> Iterator[Contact]:
    """Two visitors for each offender; the first of offender 1057307 is 13429."""
    for i, offender in enumerate(offenders()):
        for k, relationship in enumerate(("Partner", "Friend")):
            given_name = _GIVEN_NAMES[(i + k + 3) % len(_GIVEN_NAMES)]
            yield Contact(13427 + 2 * i + k, offender.id, given_name, offender.surname, relationship)


def visiting_times(day: dt.date) -> list[tuple[str, str]]:
    """Start and end of each visit on a day, as ``2018-04-05T10:00`` and ``11:30``; none on Mondays."""
    if day.weekday() == 0:
        return []
    return [(f"{day.isoformat()}T{start}", end) for start, end in VISITING_TIMES]


@lru_cache(maxsize=OFFENDERS)
def photograph(noms_id: str) -> bytes:
    """Bytes that start, end and frame like a 480x600 JPEG, 40 to 110 kB (up to 147 kB once in base64)."""
    seed = hashlib.sha256(noms_id.encode()).digest()
    size = 40_000 + int.from_bytes(seed[:4], "big") % 70_000
    start = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    frame = b"\xff\xc0\x00\x11\x08\x02\x58\x01\xe0\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    scan = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00"
    # Within a scan 0xff starts a marker, so the filler has none.
    filler = hashlib.shake_256(seed).digest(size).replace(b"\xff", b"\xfe")
    return start + frame + scan + filler + b"\xff\xd9"


@lru_cache(maxsize=1)
def _bulk_block() -> bytes:
    return hashlib.shake_256(b"visits api bulk").digest(BULK_PERIOD)


def bulk_chunks(total: int) -> Iterator[bytes]:
    """The first ``total`` bytes of the repeated block, in pieces of at most ``BULK_PERIOD`` bytes."""
    block = _bulk_block()
    whole, rest = divmod(total, BULK_PERIOD)
    for _ in range(whole):
        yield block
    if rest:
        yield block[:rest]


@lru_cache(maxsize=64)
def bulk_sha256(total: int) -> str:
    """Hex SHA-256 of ``bulk_chunks(total)``; about 1 s per GB the first time."""
    digest = hashlib.sha256()
    for chunk in bulk_chunks(total):
        digest.update(chunk)
    return digest.hexdigest()
