"""Writes frames.json, once: `python -m tests.vectors.make_frames`. The test only reads it.

The messages are put together by hand here (`struct` and literals), not by `protocol.codec`, so that the file holds
the code to the text of SPEC.md and not to itself.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("frames.json")

ABOUT = (
    "Frames of tunnel.v1 (SPEC.md sections 2 to 5, 7, 10). A message is a list of parts: hexadecimal digits, or "
    "[digits, count] for bytes that repeat. In 'frame', {'hex': ...} is msgpack bin and {'hex': ..., 'times': n} "
    "the same repeated; all else is what it is in JSON. 'to' is who receives: the agent has streams 1 (request "
    "body under way, answer begun), 3 (request complete, not answered) and 5 (over); the hub has streams 1 "
    "(answer under way), 3 (answer complete, request body under way), 5 (waiting for its answer) and 7 (over); "
    "both have sent PING 1, and grant and were granted the limits of section 10. 'canonical': this "
    "implementation sends exactly these bytes. 'rejected' messages end the session with the named code."
)


def hexed(data: bytes) -> dict[str, Any]:
    return {"hex": data.hex()}


def times(data: bytes, count: int) -> dict[str, Any]:
    return {"hex": data.hex(), "times": count}


ACCEPTED: list[dict[str, Any]] = []
REJECTED: list[dict[str, Any]] = []


def ok(name: str, to: str, frame: list[Any], *parts: Any, canonical: bool = True) -> None:
    ACCEPTED.append({"name": name, "to": to, "frame": frame, "message": list(parts), "canonical": canonical})


def no(name: str, to: str, code: str, *parts: Any) -> None:
    REJECTED.append({"name": name, "to": to, "code": code, "message": list(parts)})


def s(text: str) -> str:
    raw = text.encode()
    assert len(raw) < 32
    return (bytes([0xA0 + len(raw)]) + raw).hex()


def b(data: bytes) -> str:
    assert len(data) < 256
    return (b"\xc4" + bytes([len(data)]) + data).hex()


def u32(number: int) -> str:
    return (b"\xce" + struct.pack(">I", number)).hex()


OPEN_TAIL = (
    s("visits") + b(b"r1") + b(b"GET") + b(b"visits.internal") + b(b"/a?b=%20") + "92" + b(b"Accept") + b(b"*/*")
)
OPEN_FIELDS = ["visits", hexed(b"r1"), hexed(b"GET"), hexed(b"visits.internal"), hexed(b"/a?b=%20")]
FIELDS = [hexed(b"Accept"), hexed(b"*/*")]


def accepted() -> None:
    ok(
        "OPEN of a request without a body",
        "agent",
        [5, 7, 1, 30000, *OPEN_FIELDS, FIELDS, None, None, hexed(b"")],
        "9d050701cd7530" + OPEN_TAIL + "c0c0c400",
    )
    ok(
        "OPEN with CHUNKED and EXPECT, an upgrade and no deadline",
        "agent",
        [5, 9, 6, None, *OPEN_FIELDS, FIELDS, None, hexed(b"websocket"), hexed(b"")],
        "9d050906c0" + OPEN_TAIL + "c0" + b(b"websocket") + "c400",
    )
    ok(
        "OPEN with a length and its whole body",
        "agent",
        [5, 7, 1, 0, *OPEN_FIELDS, FIELDS, 4, None, hexed(b"body")],
        "9d05070100" + OPEN_TAIL + "04c0" + b(b"body"),
    )
    ok(
        "OPEN with the last id",
        "agent",
        [5, 2**31 - 1, 0, None, *OPEN_FIELDS, FIELDS, None, None, hexed(b"")],
        "9d05" + u32(2**31 - 1) + "00c0" + OPEN_TAIL + "c0c0c400",
    )
    ok(
        "OPEN with 32 KiB of body",
        "agent",
        [5, 7, 0, None, *OPEN_FIELDS, FIELDS, 40000, None, times(b"x", 32768)],
        "9d050700c0" + OPEN_TAIL + "cd9c40c0c58000",
        ["78", 32768],
    )
    ok(
        "OPEN with 256 fields",
        "agent",
        [5, 7, 0, None, *OPEN_FIELDS, [hexed(b"a"), hexed(b"")] * 256, None, None, hexed(b"")],
        "9d050700c0" + OPEN_TAIL[: -len("92" + b(b"Accept") + b(b"*/*"))] + "dc0200",
        ["c40161c400", 256],
        "c0c0c400",
    )
    ok("ANSWER, whole", "hub", [6, 5, 1, 200, hexed(b"OK"), FIELDS, 2, hexed(b"hi")],
       "98060501ccc8" + b(b"OK") + "92" + b(b"Accept") + b(b"*/*") + "02" + b(b"hi"))  # fmt: skip
    ok("ANSWER 204", "hub", [6, 5, 1, 204, hexed(b""), [], None, hexed(b"")], "98060501cccc" + "c400" + "90c0c400")
    ok("ANSWER 101", "hub", [6, 5, 0, 101, hexed(b""), [], None, hexed(b"")], "9806050065c40090c0c400")
    ok("ANSWER 999", "hub", [6, 5, 0, 999, hexed(b""), [], None, hexed(b"")], "98060500cd03e7c40090c0c400")
    ok("OFFER, up without a limit", "hub", [15, "visits", 2, None], "940f" + s("visits") + "02c0")
    ok("OFFER, withdrawn", "hub", [15, "v", 0, None], "940f" + s("v") + "00c0")
    ok("OFFER, down", "hub", [15, "v", 1, 1], "940f" + s("v") + "0101")
    ok("OFFER with the greatest limit", "hub", [15, "v", 2, 1_000_000], "940f" + s("v") + "02" + u32(1_000_000))
    ok("OFFER with the longest name", "hub", [15, "x" * 64, 2, 8], "940fd940" + (b"x" * 64).hex() + "0208")
    ok("INTERIM 100", "hub", [7, 5, 100, []], "9407056490")
    ok("INTERIM 199", "hub", [7, 5, 199, FIELDS], "940705ccc792" + b(b"Accept") + b(b"*/*"))
    for to in ("agent", "hub"):
        ok("DATA", to, [8, 1, 0, hexed(b"abc")], "9408" + u32(1) + "00c50003" + b"abc".hex())
        ok("DATA in the shortest encoding", to, [8, 1, 0, hexed(b"abc")], "94080100" + b(b"abc"), canonical=False)
        ok("DATA with END and no bytes", to, [8, 1, 1, hexed(b"")], "9408" + u32(1) + "01c50000")
        ok("DATA of 32 KiB", to, [8, 1, 1, times(b"x", 32768)], "9408" + u32(1) + "01c58000", ["78", 32768])
        ok("TRAILERS", to, [9, 1, FIELDS], "93090192" + b(b"Accept") + b(b"*/*"))
        ok("TRAILERS without fields", to, [9, 1, []], "93090190")
        ok("CREDIT of 1", to, [10, 1, 1], "930a0101")
        ok("CREDIT of half the default window", to, [10, 3, 131072], "930a03" + u32(131072))
        ok("CREDIT for a stream that is over", to, [10, 5 if to == "agent" else 7, 2**31],
           "930a" + ("05" if to == "agent" else "07") + u32(2**31))  # fmt: skip
        ok("RESET", to, [11, 1, 1, "gone"], "940b0101" + s("gone"))
        ok("RESET with an unknown code", to, [11, 3, 255, ""], "940b03ccffa0")
        ok("RESET of a stream that is over", to, [11, 5 if to == "agent" else 7, 0, ""],
           "940b" + ("05" if to == "agent" else "07") + "00a0")  # fmt: skip
        ok("PING 0", to, [12, 0], "920c00")
        ok("PING 2^63 - 1", to, [12, 2**63 - 1], "920ccf7fffffffffffffff")
        ok("PONG", to, [13, 1], "920d01")
        ok("DRAIN, first step", to, [14, None], "920ec0")
        ok("DRAIN, second step", to, [14, 5], "920e05")
        ok("DRAIN with the greatest id", to, [14, 2**31 - 1], "920e" + u32(2**31 - 1))
        ok("GOODBYE", to, [31, 0, "bye"], "931f00" + s("bye"))
        ok("GOODBYE with an unknown code", to, [31, 999, ""], "931fcd03e7a0")


def rejected() -> None:
    protocol, flow, limit = "PROTOCOL_ERROR", "FLOW_CONTROL", "LIMIT_EXCEEDED"
    tail = OPEN_TAIL + "c0c0c400"
    for name, head in (
        ("an id seen before", "9d050501c0"),
        ("an even id", "9d050801c0"),
        ("id 0", "9d050001c0"),
        ("a negative id", "9d05ff01c0"),
        ("an id beyond 2^31 - 1", "9d05" + u32(2**31 + 1) + "01c0"),
        ("an id that is a float", "9d05cb401c00000000000001c0"),
        ("an unknown flag", "9d050708c0"),
        ("a negative deadline", "9d050701ff"),
    ):
        no(f"OPEN with {name}", "agent", protocol, head + tail)
    no("OPEN to the hub", "hub", protocol, "9d050901c0" + tail)
    no("OPEN with an element missing", "agent", protocol, "9c050701c0" + OPEN_TAIL + "c0c0")
    no("OPEN with an element more", "agent", protocol, "9e050701c0" + tail + "c0")
    no("OPEN with 32 KiB and a byte", "agent", protocol, "9d050700c0" + OPEN_TAIL + "c0c0c58001", ["78", 32769])
    no("OPEN with an odd number of fields", "agent", protocol,
       "9d050701c0" + OPEN_TAIL.replace("92" + b(b"Accept"), "91") + "c0c0c400")  # fmt: skip
    no("OPEN with 80 KiB of fields and a byte", "agent", limit,
       "9d050701c0" + OPEN_TAIL[: -len(b(b"*/*"))] + "c600013ffb", ["78", 81915], "c0c0c400")  # fmt: skip
    no("OPEN with a text target", "agent", protocol, ("9d050701c0" + tail).replace(b(b"/a?b=%20"), s("/a?b=%20")))
    no("ANSWER to the agent", "agent", protocol, "98060301ccc8c40090c0c400")
    no("a second ANSWER", "hub", protocol, "98060101ccc8c40090c0c400")
    no("ANSWER for a stream that is over", "hub", protocol, "98060701ccc8c40090c0c400")
    for status, digits in ((100, "64"), (199, "ccc7"), (1000, "cd03e8")):
        no(f"ANSWER {status}", "hub", protocol, f"98060501{digits}c40090c0c400")
    no("ANSWER with CHUNKED", "hub", protocol, "98060502ccc8c40090c0c400")
    for status, digits in ((99, "63"), (101, "65"), (200, "ccc8")):
        no(f"INTERIM {status}", "hub", protocol, f"940705{digits}90")
    no("INTERIM after the ANSWER", "hub", protocol, "9407016490")
    no("seventeen INTERIM", "hub", limit, ["9407056490", 17])
    no("OFFER to the agent", "agent", protocol, "940f" + s("v") + "02c0")
    for name, rest in (
        ("without a name", "a002c0"),
        ("with a name of 65 characters", "d941" + (b"x" * 65).hex() + "02c0"),
        ("with a name of bytes", b(b"v") + "02c0"),
        ("with state 3", s("v") + "03c0"),
        ("with state -1", s("v") + "ffc0"),
        ("with the state true", s("v") + "c3c0"),
        ("with the state nil", s("v") + "c0c0"),
        ("with limit 0", s("v") + "0200"),
        ("with limit -1", s("v") + "02ff"),
        ("with the limit true", s("v") + "02c3"),
        ("with a limit beyond 1,000,000", s("v") + "02" + u32(1_000_001)),
    ):
        no(f"OFFER {name}", "hub", protocol, "940f" + rest)
    no("OFFER with an element missing", "hub", protocol, "930f" + s("v") + "02")
    no("OFFER with an element more", "hub", protocol, "950f" + s("v") + "02c0c0")
    no("601 OFFERs at once", "hub", limit, ["940f" + s("v") + "02c0", 601])
    no("DATA before the ANSWER", "hub", protocol, "94080500c40178")
    no("DATA after END", "agent", protocol, "94080300c40178")
    for to, over in (("agent", "05"), ("hub", "07")):
        no("DATA for a stream that is over", to, protocol, f"9408{over}00c40178")
        no("DATA for a stream that never was", to, protocol, "9408" + u32(99) + "00c40178")
        no("DATA for an even stream", to, protocol, "94080200c40178")
        no("DATA without bytes and END", to, protocol, "94080100c400")
        no("DATA with text", to, protocol, "94080100a178")
        no("DATA of 32 KiB and a byte", to, protocol, "94080100c58001", ["78", 32769])
        no("DATA with the stream true", to, protocol, "9408c300c40178")
        no("more DATA than the window", to, flow, *(["94080100c57000", ["78", 28672]] * 9),
           "94080100c50fff", ["78", 4095], "94080100c50002", "7878")  # fmt: skip
        no("TRAILERS twice", to, protocol, "93090190", "93090190")
        no("DATA after TRAILERS", to, protocol, "93090190", "94080100c40178")
        no("CREDIT of 0", to, flow, "930a0100")
        no("CREDIT of -1", to, flow, "930a01ff")
        no("CREDIT beyond 2^31", to, flow, "930a01" + u32(2**31 + 1))
        no("CREDIT for a stream that never was", to, protocol, "930a6301")
        no("RESET with a code beyond 255", to, protocol, "940b01cd0100a0")
        no("RESET with a detail of bytes", to, protocol, "940b0100c400")
        no("RESET with 257 characters", to, protocol, "940b0100da0101", ["78", 257])
        no("RESET of a stream that never was", to, protocol, "940b6300a0")
        no("DATA after RESET", to, protocol, "940b0100a0", "94080100c40178")
        no("20,001 RESETs at once", to, limit, [f"940b{over}00a0", 20_001])
        no("PING -1", to, protocol, "920cff")
        no("PING 2^63", to, protocol, "920ccf8000000000000000")
        no("201 PINGs at once", to, limit, ["920c01", 201])
        no("a PONG without its PING", to, protocol, "920d02")
        no("DRAIN -1", to, protocol, "920eff")
        no("DRAIN beyond 2^31 - 1", to, protocol, "920e" + u32(2**31))
        no("GOODBYE without its message", to, protocol, "921f00")
        no("HELLO in a session", to, protocol, "9101")
        no("an unknown type", to, protocol, "921e00")
        no("a type that is a float", to, protocol, "92cb402800000000000001")
        no("an empty array", to, protocol, "90")
        no("a map", to, protocol, "80")
        no("a map in a frame", to, protocol, "920c80")
        no("an extension type", to, protocol, "920cd40100")
        no("a timestamp", to, protocol, "920cd6ff00000000")
        no("bytes in the place of a frame", to, protocol, "c4020c01")
        no("nil in the place of a frame", to, protocol, "c0")
        no("nil and part of a frame", to, protocol, "c0", "9408ce")
        no("a frame and nil", to, protocol, "920c01", "c0")
        no("an unused msgpack byte", to, protocol, "c1")
        no("text that is not UTF-8", to, protocol, "931f00a1ff")
        no("a message that ends in a frame", to, protocol, "920c01", "92")
        no("a message that ends behind an element", to, protocol, "920c")
        no("a message that ends in a body", to, protocol, "94080100c40378")
        no("an empty message", to, limit)
        no("a message of 1 MiB and a byte", to, limit, ["c0", 1048577])
        no("nesting without end", to, protocol, ["91", 5000], "00")


def main() -> None:
    accepted()
    rejected()
    with FILE.open("w") as out:
        out.write('{\n "about": ' + json.dumps(ABOUT) + ",\n")
        for key, rows in (("accepted", ACCEPTED), ("rejected", REJECTED)):
            lines = ",\n".join("  " + json.dumps(row) for row in rows)
            out.write(f' "{key}": [\n{lines}\n ]' + ("," if key == "accepted" else "") + "\n")
        out.write("}\n")


if __name__ == "__main__":
    main()
