"""What must not be shown of fields and texts, masked before anything is kept. Pure.

Names decide first: those of credentials, and those that say "secret" (`protocol.ops.log.is_secret_name`). Then
shapes do: bearers, JWTs, passwords in URLs, and queries of URLs. It is a net under the rule that headers and
bodies are recorded only when asked for; a secret in a field with an innocent name is not found.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_plus

import msgspec
import re2  # type: ignore[import-untyped]

from protocol.http.names import KINDS, Kind
from protocol.ops.log import MASK, is_secret_name

_MORE_WORDS: Final = """
assertion auth bearer challenge csrf digest dpop jwt nonce otp passphrase passcode pin pwd saml session sessionid
sid sig signature verifier xsrf accesskey privatekey sessiontoken accesstoken refreshtoken idtoken clientsecret
"""
_MORE: Final = frozenset(_MORE_WORDS.split())
_FIELDS: Final = frozenset({"www-authenticate", "authentication-info", "dpop", "x-forwarded-client-cert"})
_URL_FIELDS: Final = frozenset({"referer", "location", "content-location", "refresh", "link", "origin"})
_inside = re.compile(r"password|passwd|secret|token|apikey|credential|authori[sz]ation|cookie").search
_word = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")

_scheme = re.compile(rb"[A-Za-z][A-Za-z0-9-]{0,19}(?= )").match
_shape = re2.compile(
    r"(?i)(?P<scheme>\b(?:bearer|basic|dpop|negotiate|ntlm|digest)\s{1,8})[A-Za-z0-9._~+/=-]{6,}"
    r"|eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}"
    r"|\btk_[A-Za-z0-9_-]{16,}"
    r"|(?P<user>://)[^\s/@:\"'<>]{1,256}:[^\s/@\"'<>]{1,256}@"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[^-]|-[^-])*(?:-----END [A-Z ]{0,40}-----)?"
)
_query = re2.compile(r"\?[^\s\"'<>#,;]+")
_pair = re.compile(
    r"(?<![\w.-])(?P<name>[A-Za-z][\w.-]{0,63})"
    r"(?P<sign>[\"']?[ \t]{0,8}[:=][ \t]{0,8}[\"']?)(?P<value>[^\"'&<>,;\r\n]+)"
)
_element = re.compile(
    r"(?P<open><(?P<name>[A-Za-z][\w:.-]{0,63})(?:\s[^<>]{0,900})?>)"
    r"(?P<value>(?:[^<]|<!\[CDATA\[(?:[^\]]|\][^\]])*(?:\]\]>)?)+)"
)
_token = re.compile(
    r'(?P<string>"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z))|(?P<mark>[{}\[\],:])'
    r"|(?P<plain>-?[0-9][0-9.eE+-]*|true|false|null)|(?P<space>[ \t\r\n]+)"
    r"|(?P<cut>-|t|tr|tru|f|fa|fal|fals|n|nu|nul)\Z",
    re.DOTALL,
)

PARAMETERS_MAX: Final = 1000
"""Parameters that are looked at one by one, some 10 ms; 64 KiB can hold 65,536."""

WITHHELD: Final = "[the rest is withheld: it is not JSON]"


@lru_cache(maxsize=2048)
def is_secret(name: str) -> bool:
    """Whether what a field, a member or a parameter of this name holds is masked."""
    if len(name) > 256:
        return True
    plain = re.sub(r"[^a-z]", "", name.lower())
    return (
        is_secret_name(name)
        or bool(_inside(plain))
        or not _MORE.isdisjoint(word.lower() for word in _word.findall(name))
    )


@lru_cache(maxsize=2048)
def is_secret_field(name: bytes) -> bool:
    """Whether the value of this header field is masked."""
    text = name.decode("ascii", "replace")
    return KINDS[name] is Kind.CREDENTIAL or text.lower() in _FIELDS or is_secret(text)


def fields(flat: list[bytes], more: frozenset[bytes] = frozenset()) -> list[tuple[str, str]]:
    """Names and values of fields, as they may be shown. more: lower-case names that are credentials here."""
    return [
        (name.decode("ascii", "backslashreplace"), _value(name, value, more))
        for name, value in zip(flat[::2], flat[1::2], strict=True)
    ]


def _value(name: bytes, value: bytes, more: frozenset[bytes]) -> str:
    if is_secret_field(name) or name.lower() in more:
        scheme = _scheme(value) if name.lower().endswith(b"authorization") else None
        return f"{scheme.group().decode()} {MASK}" if scheme else MASK
    shown = text(value.decode("utf-8", "backslashreplace"))
    if name.lower().decode("ascii", "replace") in _URL_FIELDS:
        shown = _query.sub("?" + MASK, shown)
    return shown


def text(value: str) -> str:
    """Any text, with what has the shape of a secret masked."""
    return str(_shape.sub(_mask_shape, value))


def _mask_shape(found: Any) -> str:
    kept = str(found["scheme"] or found["user"] or "")
    return kept + MASK + ("@" if found["user"] else "")


def json(value: str) -> str:
    """JSON text, whole or cut, or several in a row: members with secret names are masked, whatever they hold.

    The rest stays as it was sent. What is not JSON is withheld from there on.
    """
    out: list[str] = []
    at, size = 0, len(value)
    hidden = -1  # depth of brackets within a value that is masked; -1: none is
    secret = False  # the next value is
    while at < size:
        found = _token.match(value, at)
        if found is None:
            out.append(WITHHELD if hidden < 0 else "")
            break
        at = found.end()
        part, kind = found.group(), found.lastgroup
        if hidden >= 0:
            if part in ("{", "["):
                hidden += 1
            elif part in ("}", "]"):
                hidden -= 1
                hidden = hidden or -1
            continue
        if kind == "space" or part == ":":
            out.append(part)
        elif kind == "string" and _is_name(value, at):
            secret = is_secret(_decoded(part))
            out.append(part)
        elif secret and part not in ("}", "]", ","):
            out.append(f'"{MASK}"')
            secret = False
            hidden = 1 if part in ("{", "[") else -1
        else:
            secret = False
            out.append(part)
    return text("".join(out))


_colon = re.compile(r"[ \t\r\n]*:").match


def _is_name(value: str, at: int) -> bool:
    return _colon(value, at) is not None


def _decoded(token: str) -> str:
    try:
        name: Any = msgspec.json.decode(token)
    except msgspec.DecodeError:
        return token
    return str(name)


def form(value: str) -> str:
    """An `application/x-www-form-urlencoded` body, or a query. Behind PARAMETERS_MAX all is masked as one."""
    pairs = value.split("&", PARAMETERS_MAX)
    rest = [MASK] if len(pairs) > PARAMETERS_MAX else []
    return "&".join([*map(_parameter, pairs[:PARAMETERS_MAX]), *rest])


def _parameter(pair: str) -> str:
    name, sign, value = pair.partition("=")
    if not sign:
        return text(pair)
    plain = unquote_plus(value)
    if is_secret(unquote_plus(name)) or text(plain) != plain:
        return f"{name}={MASK}"
    return f"{name}={value}"


def loose(value: str) -> str:
    """Text of any other kind: what looks like an element, a member or a line with a secret name is masked."""
    value = _element.sub(_mask_element, value)
    return str(_pair.sub(_mask_pair, text(value)))


def _mask_element(found: Any) -> str:
    name = found["name"].rpartition(":")[2]
    return str(found["open"] + MASK if is_secret(name) and found["value"].strip() else found.group())


def _mask_pair(found: Any) -> str:
    return str(found["name"] + found["sign"] + MASK if is_secret(found["name"]) else found.group())
