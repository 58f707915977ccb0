"""A recorded exchange as a command for a shell, with placeholders for what was masked. Pure."""

from __future__ import annotations

import re
import shlex
from itertools import groupby
from typing import TYPE_CHECKING, Final

from protocol.ops.log import MASK

if TYPE_CHECKING:
    from .seen import Seen

_OMITTED: Final = frozenset({"host", "content-length", "accept-encoding", "expect"})
_BODY: Final = "SECRET"


def command(seen: Seen, scheme: str, *, name_service: bool = False) -> str:
    """The command, and before it comments: what was not recorded, which variables to set.

    scheme: http or https. name_service: neither host nor path lead to the service, so its name has to.
    """
    variables: list[str] = []
    notes: list[str] = []
    # Square brackets and braces mean something to curl, and dots in paths shall stay as they are.
    parts = ["curl --silent --show-error --include --globoff --path-as-is"]
    if seen.method == "HEAD":
        parts.append("--head")
    elif seen.method != "GET":
        parts.append(f"--request {shlex.quote(seen.method)}")
    host = _quoted(f"{scheme}://{seen.host or MASK}", "HOST", variables)
    query = "" if seen.query is None else f"?{seen.query}"
    parts.append(host + _quoted(seen.path + query, _BODY, variables))
    for name, value in seen.request_fields or ():
        if name.lower() in _OMITTED:
            continue
        line = f"{name}: {value}" if value else f"{name};"  # the semicolon: a field without a value
        parts.append("--header " + _quoted(line, _variable(name), variables))
    if name_service:
        parts.append("--header " + shlex.quote(f"Tunnel-Service: {seen.service}"))
    body = seen.request_body
    if body is not None and body.text is not None:
        parts.append("--data-raw " + _quoted(body.text, _BODY, variables))
        if body.note:
            notes.append(f"the body was {body.note}")
    elif seen.bytes_in:
        notes.append(f"its body of {seen.bytes_in} bytes is not here")
    if seen.shape:
        notes.append("* in the path stands for what was not recorded")
    if seen.queried and seen.query is None:
        notes.append("its query was not recorded")
    if seen.request_fields is None:
        notes.append("its header fields were not recorded")
    if variables:
        notes.append("set " + ", ".join(f"${name}" for name in variables))
    return "".join(f"# {note}\n" for note in notes) + " \\\n  ".join(parts) + "\n"


def _quoted(text: str, variable: str, variables: list[str]) -> str:
    """One word for the shell, with the variable in the place of what was masked."""
    literal = text.split(MASK)
    if len(literal) > 1 and variable not in variables:
        variables.append(variable)
    return f'"${variable}"'.join(_word(part) if part else "" for part in literal) or "''"


def _word(text: str) -> str:
    """As `shlex.quote`; what could steer a terminal, where the command is shown or pasted, is left to printf."""
    runs = ((plain, "".join(chars)) for plain, chars in groupby(text, _is_plain))
    return "".join(shlex.quote(run) if plain else _printed(run) for plain, run in runs)


def _printed(run: str) -> str:
    octets = "".join(f"\\{octet:03o}" for octet in run.encode())
    return f"\"$(printf '{octets}')\""


def _is_plain(char: str) -> bool:
    return char.isprintable() or char == "\n"


def _variable(name: str) -> str:
    """The variable for a field's value: TOKEN for Authorization, else its own name."""
    if name.lower() == "authorization":
        return "TOKEN"
    return "FIELD_" + re.sub(r"[^A-Z0-9]", "_", name.upper())[:64]
