"""Path policy: a target is either unambiguous to everyone who will read it, or refused. Nothing is rewritten.

The hub, the agent's boundary and the upstream look at the same bytes, but may decode them differently often.
A target passes only if decoding it any number of times changes nothing about its segments (RFC 3986 sections
3.3, 5.2.4 and 6.2.2).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from .authority import BadAuthority, host_name

EXCEPTIONS: Final = {
    "%2f": "encoded slashes",
    "%5c": "encoded backslashes",
    "%25": "percent signs that decode to another escape",
    ";": "path parameters, plain or encoded",
    "//": "empty segments",
}
"""What a service may be told to let through, by the name used in its configuration. Dot segments, control
characters, invalid UTF-8, plain backslashes and fragments have no exception."""

DECODINGS: Final = 4
"""How often an escape may decode to another one where `%25` is allowed; no server decodes as often."""

NONE: Final[frozenset[str]] = frozenset()

# Targets that need no second look: no empty or dot segment, no `;`, and only escapes of printable ASCII that
# means nothing in a path, which leaves out % . / ; and the backslash. The query: printable ASCII without `#`.
_is_plain = re.compile(
    rb"""
    (?: / (?! \.\.? (?: [/?] | \Z ) )
        (?: [A-Za-z0-9\-._~!$&'()*+,=:@]++
          | % (?: 2[0-46-9A-Da-d] | 3[0-9ACDEFacdef] | [46][0-9A-Fa-f] | 5[0-9ABDEFabdef] | 7[0-9A-Ea-e] )
        )++
    )*+
    /?+
    (?: \? [!"$-~]*+ )?+
    """,
    re.VERBOSE,
).fullmatch

_is_path = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,=:@/;]|%[0-9A-Fa-f]{2})*+").fullmatch
_is_query = re.compile(rb"[!\"$-~]*+").fullmatch
_bad_escape = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_escape = re.compile(rb"%(?:[0-9A-Fa-f]{2}|u)").search
_control = re.compile(r"[\x00-\x1f\x7f-\x9f]").search
_absolute = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL).fullmatch


class BadTarget(ValueError):
    """The request target must be refused (400). The message says why and does not quote the target."""


def check_target(target: bytes, exceptions: frozenset[str] = NONE) -> None:
    """Checks an origin-form target, `/path` or `/path?query`, as it will be matched and forwarded.

    `exceptions` are keys of EXCEPTIONS. The length is not limited here.

    Raises:
        BadTarget: the target is malformed or ambiguous.
    """
    if _is_plain(target) and target[:1] == b"/":
        return
    path, _, query = target.partition(b"?")
    if not path.startswith(b"/"):
        raise BadTarget("The target does not begin with a slash")
    if not _is_query(query):
        raise BadTarget("The query holds a fragment, a control character or an octet outside ASCII")
    _check_path(path, exceptions)


def _check_path(path: bytes, exceptions: frozenset[str]) -> None:
    """The rules one by one, for paths that are not plain; decides alone, whatever the fast path said."""
    if not _is_path(path):
        raise BadTarget(_why_not_path(path))
    _check_segments(path, exceptions)
    for _ in range(DECODINGS):
        path = unquote_to_bytes(path)
        _check_text(path)
        nested = _escape(path)
        if nested and "%25" not in exceptions:
            break
        _check_segments(path, exceptions)
        if not nested:
            return
    raise BadTarget("The path holds an escape of an escape")


def _check_text(decoded: bytes) -> None:
    try:
        text = decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise BadTarget("The path does not decode to valid UTF-8") from None
    if _control(text):
        raise BadTarget("The path holds an encoded control character")


def _check_segments(path: bytes, exceptions: frozenset[str]) -> None:
    """What one decoding more may do to the segments; `path` is raw, or decoded some times."""
    lower = path.lower()
    if b"%2f" in lower and "%2f" not in exceptions:
        raise BadTarget("The path holds an encoded slash")
    if b"%5c" in lower and "%5c" not in exceptions:
        raise BadTarget("The path holds an encoded backslash")
    if (b";" in path or b"%3b" in lower) and ";" not in exceptions:
        raise BadTarget("The path holds a semicolon, plain or encoded")
    path = path.replace(b"\\", b"/")
    if b"//" in path and "//" not in exceptions:
        raise BadTarget("The path holds an empty segment")
    for segment in path.split(b"/"):
        # Some servers cut a segment's parameters off first, so that `..;x` becomes `..`.
        if segment.partition(b";")[0] in (b".", b".."):
            raise BadTarget("The path holds a dot segment")


def _why_not_path(path: bytes) -> str:
    if b"#" in path:
        return "The target holds a fragment"
    if b"\\" in path:
        return "The path holds a backslash"
    if _bad_escape(path):
        return "The path holds a percent sign without two hexadecimal digits"
    if any(octet < 33 or octet == 127 for octet in path):
        return "The path holds a control character or a space"
    return "The path holds a character that a URI must encode"


def parse_request_target(method: bytes, raw: bytes) -> tuple[bytes, bytes | None]:
    """The origin-form target and the authority, if any, that wins over Host (RFC 9112 section 3.2).

    The target is not yet checked: `check_target` must follow, but for `*`. The target is `*` for `OPTIONS *`
    and for OPTIONS on an absolute URI without path and query; the hub answers these itself, since they are
    about no resource of a service. CONNECT must be answered 405 before this is called; its authority-form is
    refused here like anything else.

    Raises:
        BadTarget: none of the forms, or one that does not fit the method; userinfo; a bad authority.
    """
    if raw[:1] == b"/":
        return raw, None
    if raw == b"*":
        if method != b"OPTIONS":
            raise BadTarget("The target * belongs to OPTIONS alone")
        return raw, None
    match = _absolute(raw)
    if match is None:
        raise BadTarget("The target is neither a path nor an http or https URI")
    authority, rest = match.groups()
    if b"@" in authority:
        raise BadTarget("The target holds user information")
    try:
        host_name(authority)
    except BadAuthority as error:
        raise BadTarget(str(error)) from None
    if not rest and method == b"OPTIONS":
        return b"*", authority
    return (rest if rest[:1] == b"/" else b"/" + rest), authority
