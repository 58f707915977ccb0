"""Holds what the callers were told against what the ledger saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.reliability.plan import UNSAFE
from tests.reliability.report import Report

EVERY_ANSWER = frozenset({200, 409, 502, 503, 504})
KILL_NOTICE = 0.5
"""Seconds after a kill in which a caller may still have sent a request to the hub that is gone."""


def method_of(attempt: str) -> str:
    return attempt.partition(".")[0]


def ref_of(attempt: str) -> str:
    """The ref in `METHOD.prefix.number.try`."""
    return attempt.partition(".")[2].rpartition(".")[0]


def untrue(claims: Iterable[tuple[str, int, str, str]], arrivals: Mapping[str, int]) -> list[str]:
    """Answers of the tunnel whose Tunnel-Delivered does not agree with the ledger, or with their status."""
    found = []
    for attempt, status, code, delivered in claims:
        arrived = arrivals.get(attempt, 0)
        said = f"{attempt}: {status} {code} says {delivered!r}"
        if delivered == "no" and arrived:
            found.append(f"{said}, but it arrived {arrived} times")
        elif delivered == "yes" and not arrived:
            found.append(f"{said}, but it never arrived")
        elif delivered not in {"no", "unknown", "yes"}:
            found.append(f"{said}, which is no value of the field")
        elif status == 503 and delivered != "no":
            found.append(f"{said}, but 503 promises that nothing was delivered")
        elif status == 504 and delivered == "yes":
            found.append(f"{said}, but 504 is unknown or no")
    return found


def judge_effects(report: Report, loads: Iterable[Mapping[str, Any]], ledger: Mapping[str, Any]) -> None:
    """Nothing twice, and every word of Tunnel-Delivered true."""
    arrivals, effects = ledger["arrivals"], ledger["effects_by_ref"]
    loads = list(loads)
    twice = {name: n for name, n in ledger["repeated_attempts"].items() if method_of(name) in UNSAFE}
    report.none("refs with two effects", ledger["repeated_effects"])
    report.none("attempts of POST or PATCH that arrived twice", twice)
    report.none("untrue Tunnel-Delivered", [line for load in loads for line in untrue(load["claims"], arrivals)])
    served = [name for load in loads for name in load["served"]]
    without = [
        name
        for name in served
        if not arrivals.get(name) or (method_of(name) == "POST" and effects.get(ref_of(name)) != 1)
    ]
    report.none("answers of 200 without an effect", without)
    report.none("violations of HTTP at the upstream", ledger["violations"])


def judge_answers(report: Report, loads: Iterable[Mapping[str, Any]], allowed: Iterable[int]) -> None:
    """Only statuses that are allowed, and every body its request's own."""
    allowed = set(allowed)
    loads = list(loads)
    others: dict[str, int] = {}
    for load in loads:
        for kind, count in load["answers"].items():
            if int(kind.split()[0]) not in allowed:
                others[kind] = others.get(kind, 0) + count
    report.none("answers with another status", others)
    report.none("mixed-up answers", [entry for load in loads for entry in load["mixed_details"]])
    report.counts["answers"] = {kind: count for load in loads for kind, count in load["answers"].items()}


def split_lost(
    lost: Iterable[Mapping[str, Any]], kills: Iterable[tuple[int, float]]
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Lost requests in two heaps: those whose hub was killed under them (port, moment), and the others."""
    kills = list(kills)
    excused, others = [], []
    for entry in lost:
        killed = any(
            port == entry["target"] and entry["sent_at"] - KILL_NOTICE <= at <= entry["at"] for port, at in kills
        )
        (excused if killed else others).append(entry)
    return excused, others
