"""The rules by id. A row names the rule it shows; `test_every_rule_has_its_rows` compares the two.

ELSEWHERE: rules whose proof takes its own tunnel or time, and the tests that hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

Test = TypeVar("Test", bound=Callable[..., None])

SHOWN: Final[set[str]] = set()
"""Rules that a test shows which is not a row of a table: it takes several steps."""


def shows(rule: str) -> Callable[[Test], Test]:
    """Marks a test as one that shows `rule`."""

    def mark(test: Test) -> Test:
        SHOWN.add(rule)
        return test

    return mark


RULES: Final[dict[str, str]] = {
    # RFC 9112: framing
    "octets": "Messages are parsed as octets; text plays no part (RFC 9112, 2.2)",
    "bare-cr": "A bare CR in a head is refused",
    "bare-lf": "A bare LF in a head is refused",
    "nul": "A NUL is refused",
    "space-before-field": "White space before the first field is refused (RFC 9112, 2.2)",
    "space-before-colon": "White space between a name and its colon is refused (RFC 9112, 5.1)",
    "obs-fold": "A folded field is refused: 400, from an upstream 502 (RFC 9112, 5.2)",
    "request-line": "One space between the parts of a request line, and nothing else (RFC 9112, 3)",
    "line-bound": "A request line has a bound: 414",
    "head-bound": "A header section has a bound: 431, from an upstream 502",
    "coding-and-length": "Transfer-Encoding with Content-Length: 400, from an upstream 502 (RFC 9112, 6.3)",
    "coding-in-1.0": "Transfer-Encoding under HTTP/1.0: 400 and close (RFC 9112, 6.1)",
    "coding-final": "A final coding other than chunked: 400 and close, from an upstream 502",
    "coding-unknown": "An unknown coding before chunked: 501",
    "length-digits": "Content-Length is ASCII digits: 400, from an upstream 502 (RFC 9110, 8.6)",
    "length-one": "A repeated or listed Content-Length is refused even when equal",
    "chunk-size": "Chunk sizes are hexadecimal, with an overflow check (RFC 9112, 7.1)",
    "chunk-crlf": "Exactly CRLF after a chunk's data",
    "chunk-extension": "Chunk extensions are bounded and dropped (RFC 9112, 7.1.1)",
    "trailers": "Trailers are dropped unless they may travel (RFC 9110, 6.5.1)",
    "undrained": "A connection whose request body was not read to its end closes after the answer",
    "truncation": "An upstream that stops early aborts the caller's connection visibly (RFC 9112, 8)",
    "made-anew": "Heads are written anew from what was parsed; no byte of one is passed through",
    "reuse": "An upstream's connection is used again only after an exactly delimited exchange (RFC 9112, 9.3)",
    "surplus": "Bytes behind an answer discard the upstream's connection",
    # RFC 9110: semantics
    "value-controls": "No CR, LF, NUL or other control in a value, in either direction (RFC 9110, 5.5)",
    "name-token": "A field's name is a token (RFC 9110, 5.1)",
    "one-host": "Exactly one valid Host (RFC 9112, 3.2)",
    "absolute-form": "An absolute target's authority wins over Host (RFC 9112, 3.2.2)",
    "upstream-host": "The agent sets Host from its own file, or keeps the caller's where told so",
    "hop-by-hop": "Connection and what it lists, Keep-Alive, TE, Upgrade ... end at the hop (RFC 9110, 7.6.1)",
    "nomination": "Connection may not take out what every party needs",
    "via": "Via is added both ways (RFC 9110, 7.6.3)",
    "loop": "A request that has passed this hub before is refused",
    "date": "Date is added where it is missing (RFC 9110, 6.6.1)",
    "repeated": "Repeated fields stay repeated and in order (Set-Cookie)",
    "raw-target": "Path and query travel byte for byte",
    "no-body": "Answers to HEAD, 204 and 304 have no body (RFC 9110, 6.4.1)",
    "method": "CONNECT and TRACE are 405; what is no method is refused",
    "max-forwards": "Max-Forwards is counted down on OPTIONS (RFC 9110, 7.6.2)",
    "expect": "Expect: 100-continue is kept end to end, or answered at the hub (RFC 9110, 10.1.1)",
    "expect-other": "Other expectations: 417",
    "no-1xx-in-1.0": "A caller of HTTP/1.0 never gets a 1xx (RFC 9110, 15.2)",
    "interim": "Several 1xx pass, 103 too",
    "unasked-101": "A 101 that was not asked for is 502 (RFC 9110, 7.8)",
    "upgrade": "An upgrade only where the service allows it",
    "redirect": "No redirect is followed",
    "compressed": "Compressed bodies pass untouched",
    "version": "Only HTTP/1.1 and HTTP/1.0 are spoken: 505, from an upstream 502",
    # forwarding
    "forwarded": "Forwarded and X-Forwarded-* of a peer that is not listed are dropped and made anew",
    "forwarded-listed": "Those of a listed proxy are believed and added to",
    "traceparent": "An invalid traceparent is dropped, and its tracestate with it (W3C Trace Context)",
    "tracestate": "A tracestate of more than 32 members is dropped, the traceparent stays",
    "alias": "A name that can be taken for one that matters, such as one with `_`, is refused",
    "own-voice": "Only the tunnel says Tunnel-*, Proxy-Status and who the caller is",
    # path policy
    "path-as-sent": "The string that is matched is the string that is forwarded",
    "path-refused": "An ambiguous path is refused, never rewritten",
    "path-exceptions": "A service may be told to let some of them through, and those alone",
    # RFC 6455, between agent and hub
    "ws-masking": "A client's frames are masked, a server's are not",
    "ws-reserved": "Reserved bits and opcodes are refused",
    "ws-control": "Control frames have at most 125 bytes and are not fragmented",
    "ws-close-codes": "A close code that must not be sent is refused",
    "ws-cap": "A frame and an assembled message have a cap",
}

ELSEWHERE: Final[dict[str, tuple[str, ...]]] = {
    "A closing connection lingers, so that no reset overtakes the answer (RFC 9112, 9.6)": (
        "unit/ingress/test_ingress_watch.py",
    ),
    "Secrets are never in URLs, argv, logs, exceptions or metrics": (
        "e2e/test_observability.py::test_no_secret_and_no_query_in_any_log",
        "unit/test_keys.py::test_nothing_shows_key_material",
    ),
    "Two keys are live while one replaces the other": (
        "e2e/test_identity.py::test_two_keys_at_once_on_both_sides",
    ),
}
