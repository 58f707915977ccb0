"""A recorded body as it may be shown: text with secrets masked, or only its size and type. Pure."""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from . import redact

BODY_MAX: Final = 64 * 1024
"""Bytes of a body that are kept, before and after decompression."""

_TEXTS: Final = frozenset(
    {
        "application/json",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/x-ndjson",
        "application/javascript",
        "application/graphql",
    }
)
_ZLIB: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""`wbits` of the codings that are undone."""


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of one body."""

    size: int
    """Bytes as they travelled."""
    type: str = ""
    text: str | None = None
    """None: nothing of it is shown, as `note` says."""
    note: str = ""


def shown(kept: bytes, size: int, content_type: str, coding: str) -> Body:
    """`kept` is the beginning of a body of `size` bytes; content_type and coding as the fields say."""
    kind = content_type.partition(";")[0].strip().lower()
    label = redact.text(content_type[:128])
    if not size:
        return Body(0, label)
    cut = size > len(kept) or len(kept) > BODY_MAX
    kept = kept[:BODY_MAX]
    coding = coding.strip().lower()
    note = ""
    if coding and coding != "identity":
        if coding not in _ZLIB:
            return Body(size, label, note=f"compressed ({coding[:32]}): not shown")
        unpacked = _unpacked(kept, _ZLIB[coding])
        if unpacked is None:
            return Body(size, label, note=f"not what {coding} makes: not shown")
        kept, more = unpacked
        cut = cut or more
        note = f"unpacked from {coding}"
    if not is_text(kind, kept):
        return Body(size, label, note="binary: not shown")
    text = kept.decode("utf-8", "replace")
    if cut:
        text = text.rstrip("\ufffd")
        note = ", ".join(filter(None, (note, f"cut at {BODY_MAX // 1024} KiB")))
    return Body(size, label, masked(kind, text), note)


def is_text(kind: str, data: bytes) -> bool:
    """Whether a body of this media type, or of none, is text that can be shown."""
    if kind and not (kind.startswith("text/") or kind in _TEXTS or kind.endswith(("+json", "+xml"))):
        return False
    if b"\0" in data or data.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16: names would not be recognised
        return False
    tail = data[:-3] if len(data) >= BODY_MAX else data  # the last character may be cut
    try:
        tail.decode()
    except UnicodeDecodeError as error:
        return bool(kind) or error.start >= len(tail) - 3 > 0
    return True


def masked(kind: str, text: str) -> str:
    """The text of a body with what is secret masked."""
    if kind == "application/x-www-form-urlencoded":
        return redact.form(text)
    if kind.endswith("json") or text.lstrip()[:1] in ("{", "["):
        masked = redact.json(text)
        if kind.endswith("json") or redact.WITHHELD not in masked:
            return masked
    return redact.loose(text)


def _unpacked(data: bytes, wbits: int) -> tuple[bytes, bool] | None:
    """At most BODY_MAX bytes and whether there is more; None: it is not that coding."""
    for bits in (wbits, -15) if wbits == 15 else (wbits,):  # "deflate" without its header is common
        decoder = zlib.decompressobj(bits)
        try:
            unpacked = decoder.decompress(data, BODY_MAX)
        except zlib.error:
            continue
        return unpacked, bool(decoder.unconsumed_tail) or not decoder.eof
    return None
