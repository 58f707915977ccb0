"""The gate: whose credential counts, what is remembered for how long, and which rules decide."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from protocol.http.allow import AllowList
from protocol.http.fields import kinds_of
from tunnel_hub.gateway.directory import Directory
from tunnel_hub.gateway.gate import CACHE_MAX, CACHED_BYTES, Admitted, Denied, Gate, Verifier
from tunnel_hub.gateway.grant import Grant, Unauthenticated, Unverifiable, Verified
from tunnel_hub.gateway.policy import Policy
from tunnel_hub.ingress.request import Request

NOW = 1_800_000_000.0
READ = {"visits": AllowList.compile(["GET /nomisapi/**"])}


def request(*fields: str) -> Request:
    flat = [part.encode() for field in fields for part in field.split(": ", 1)]
    return Request(b"GET", b"/nomisapi/health", b"h", 1, flat, kinds_of(flat), None, False, False, None, True, 0.0)


class Notary:
    """A verifier that knows some credentials and counts how often it is asked."""

    def __init__(self, **known: Verified | Exception) -> None:
        self.known = {name.encode(): answer for name, answer in known.items()}
        self.asked: list[bytes] = []

    def verify(self, credential: bytes, now: float) -> Verified:
        assert now >= NOW
        self.asked.append(credential)
        answer = self.known.get(credential, Unauthenticated("The credential is wrong"))
        if isinstance(answer, Exception):
            raise answer
        return answer


class Bearers:
    """Takes every bearer for the notary's but those that begin with "theirs"."""

    def __init__(self, notary: Verifier | None) -> None:
        self._notary = notary

    def verify(self, bearer: bytes, now: float) -> Verified | None:
        if self._notary is None or bearer.startswith(b"theirs"):
            return None
        return self._notary.verify(bearer, now)


class People(Directory):
    """A directory of fixed policies, by the grant's name."""

    def __init__(self, *policies: Policy) -> None:
        self._policies = {policy.name: policy for policy in policies}

    def find(self, grant: Grant) -> Policy | None:
        return self._policies.get(grant.name)


def verified(name: str = "booking", until: float = NOW + 10, **more: Any) -> Verified:
    return Verified(Grant(name, "token", credential=f"print of {name}", **more), until)


def make(
    *policies: Policy, bearer: Notary | None = None, key: Notary | None = None, certificate: Notary | None = None
) -> Gate:
    return Gate(
        People(*(policies or (Policy("booking", READ),))),
        bearers=Bearers(bearer),
        api_keys=key,
        certificates=certificate,
        is_revoked=lambda grant: grant.credential == "print of revoked",
    )


def denied(gate: Gate, asked: Request, certificate: bytes = b"", now: float = NOW) -> Denied:
    with pytest.raises(Denied) as caught:
        gate.authenticate(asked, certificate, now)
    return caught.value


def test_a_bearer_is_verified_once_and_never_goes_on() -> None:
    notary = Notary(abc=verified())
    gate = make(bearer=notary)
    for _ in range(3):
        asked = request("Accept: */*", "authorization: bearer abc", "X-Other: 1")
        assert gate.authenticate(asked, b"", NOW).policy.name == "booking"
        assert asked.fields == [b"Accept", b"*/*", b"X-Other", b"1"]
    assert notary.asked == [b"abc"]
    assert gate.verified == {"token": 1}


def test_what_was_remembered_ends_with_its_time() -> None:
    notary = Notary(abc=verified(until=NOW + 10))
    gate = make(bearer=notary)
    gate.authenticate(request("Authorization: Bearer abc"), b"", NOW)
    gate.authenticate(request("Authorization: Bearer abc"), b"", NOW + 9.9)
    assert len(notary.asked) == 1
    gate.authenticate(request("Authorization: Bearer abc"), b"", NOW + 10)
    assert len(notary.asked) == 2


def test_the_credentials_own_end_counts_too() -> None:
    notary = Notary(abc=verified(until=NOW + 10, expires=NOW + 1))
    gate = make(bearer=notary)
    assert gate.authenticate(request("Authorization: Bearer abc"), b"", NOW).until == NOW + 1


def test_single_use_is_not_remembered() -> None:
    notary = Notary(abc=verified(until=0))
    gate = make(bearer=notary)
    for _ in range(2):
        gate.authenticate(request("Authorization: Bearer abc"), b"", NOW)
    assert len(notary.asked) == 2


def test_what_was_revoked_is_forgotten_and_nothing_else() -> None:
    notary = Notary(abc=verified(), xyz=verified("other"))
    revoked: set[str] = set()
    gate = Gate(
        People(Policy("booking"), Policy("other")),
        bearers=Bearers(notary),
        api_keys=None,
        certificates=None,
        is_revoked=lambda grant: grant.credential in revoked,
    )
    for bearer in ("abc", "xyz"):
        gate.authenticate(request(f"Authorization: Bearer {bearer}"), b"", NOW)
    revoked.add("print of booking")
    gate.forget_revoked()
    notary.known[b"abc"] = Unauthenticated("The client token was revoked")
    assert denied(gate, request("Authorization: Bearer abc")).problem.code == "unauthenticated"
    gate.authenticate(request("Authorization: Bearer xyz"), b"", NOW)
    assert len(notary.asked) == 3


def test_memory_is_bounded() -> None:
    class Everybody(Notary):
        def verify(self, credential: bytes, now: float) -> Verified:
            super_asked.append(credential)
            return verified()

    super_asked: list[bytes] = []
    gate = make(bearer=Everybody())
    for number in range(CACHE_MAX + 5):
        gate.authenticate(request(f"Authorization: Bearer {number}"), b"", NOW)
    assert len(gate._known) == CACHE_MAX
    gate.authenticate(request(f"Authorization: Bearer {CACHE_MAX + 4}"), b"", NOW)
    assert len(super_asked) == CACHE_MAX + 5
    gate.authenticate(request("Authorization: Bearer 0"), b"", NOW)  # the oldest had to go
    assert len(super_asked) == CACHE_MAX + 6


def test_one_credential_in_many_long_spellings_fills_no_memory() -> None:
    gate = make(bearer=Notary(abc=verified()))
    for blanks in range(CACHED_BYTES, CACHED_BYTES + 20):
        gate.authenticate(request(f"Authorization: Bearer{' ' * blanks}abc"), b"", NOW)
    assert gate._known == {}


def test_an_api_key_in_either_field() -> None:
    notary = Notary(tk_1=verified())
    gate = make(bearer=Notary(), key=notary)
    for field in ("X-Api-Key: tk_1", "Authorization: Bearer tk_1"):
        asked = request(field)
        assert gate.authenticate(asked, b"", NOW).policy.name == "booking"
        assert asked.fields == []
    assert notary.asked == [b"tk_1", b"tk_1"]


def test_what_one_field_proved_is_not_taken_from_the_other() -> None:
    gate = make(bearer=Notary(abc=verified()), key=Notary(tk_1=verified()))
    for field in ("X-Api-Key: tk_1", "Authorization: Bearer tk_1", "Authorization: Bearer abc"):
        gate.authenticate(request(field), b"", NOW)
    for field in ("Authorization: tk_1", "X-Api-Key: Bearer tk_1", "X-Api-Key: Bearer abc", "X-Api-Key: abc"):
        assert denied(gate, request(field)).problem.code == "unauthenticated"


def test_beside_an_api_key_authorization_is_the_upstreams() -> None:
    gate = make(bearer=Notary(), key=Notary(tk_1=verified()))
    asked = request("Authorization: Bearer theirs", "X-Api-Key: tk_1")
    gate.authenticate(asked, b"", NOW)
    assert asked.fields == [b"Authorization", b"Bearer theirs"]


@pytest.mark.parametrize("bearer", ["abc", "tk_1"])
def test_a_second_credential_would_go_on_so_it_is_refused(bearer: str) -> None:
    gate = make(bearer=Notary(abc=verified()), key=Notary(tk_1=verified()))
    for fields in (
        ("X-Api-Key: tk_1", f"Authorization: Bearer {bearer}"),
        (f"Authorization: Bearer {bearer}", "X-Api-Key: tk_1"),
    ):
        assert "two credentials" in denied(gate, request(*fields)).detail
    gate = make(bearer=Notary(), key=Notary(tk_1=verified()))
    assert (
        denied(gate, request("X-Api-Key: tk_1", "Authorization: Bearer wrong")).problem.code == "unauthenticated"
    )


@pytest.mark.parametrize("field", ["Authorization: Basic dTpw", "Authorization: Bearer theirs", "Cookie: a=b"])
def test_beside_a_certificate_what_is_not_the_hubs_goes_on(field: str) -> None:
    notary = Notary(der=verified())
    gate = make(bearer=Notary(), certificate=notary)
    for _ in range(2):
        asked = request(field)
        assert gate.authenticate(asked, b"der", NOW).policy.name == "booking"
        assert len(asked.fields) == 2
    assert len(notary.asked) == 1


def test_a_wrong_bearer_is_not_saved_by_a_certificate() -> None:
    gate = make(bearer=Notary(), certificate=Notary(der=verified()))
    assert denied(gate, request("Authorization: Bearer wrong"), b"der").detail == "The credential is wrong"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((), "shows no credentials"),
        (("Cookie: a=b",), "shows no credentials"),
        (("Authorization: Basic dTpw",), "shows no credentials"),
        (("Authorization: Bearer",), "credential is wrong"),
        (("Authorization: Bearer wrong",), "credential is wrong"),
        (("Authorization: Bearer abc", "authorization: Bearer abc"), "more than one Authorization"),
        (("X-Api-Key: tk_1", "x-api-key: tk_1"), "more than one X-Api-Key"),
        (("X-Api-Key: abc",), "credential is wrong"),
    ],
)
def test_who_is_not_authenticated(fields: tuple[str, ...], words: str) -> None:
    gate = make(bearer=Notary(abc=verified()), key=Notary(tk_1=verified()))
    error = denied(gate, request(*fields))
    assert (error.problem.status, error.problem.code) == (401, "unauthenticated")
    assert words in error.detail
    assert "abc" not in error.detail
    assert gate.refused == {"unauthenticated": 1}


def test_without_api_keys_their_field_is_the_upstreams() -> None:
    gate = make(bearer=Notary(abc=verified()))
    asked = request("X-Api-Key: tk_1", "Authorization: Bearer abc")
    gate.authenticate(asked, b"", NOW)
    assert asked.fields == [b"X-Api-Key", b"tk_1"]


def test_what_cannot_be_verified_now_is_not_the_callers_fault() -> None:
    error = denied(make(bearer=Notary(abc=Unverifiable("No key set"))), request("Authorization: Bearer abc"))
    assert (error.problem.status, error.problem.code) == (503, "authentication_unavailable")
    assert error.retry_after == 1


def test_a_proven_nobody_and_one_switched_off_are_forbidden() -> None:
    gate = make(Policy("off", enabled=False), bearer=Notary(abc=verified("nobody"), xyz=verified("off")))
    error = denied(gate, request("Authorization: Bearer abc"))
    assert error.problem.status == 403
    assert '"nobody"' in error.detail
    assert "switched off" in denied(gate, request("Authorization: Bearer xyz")).detail


def admitted(policy: Policy, access: object = None) -> Admitted:
    grant = Grant(policy.name, "token", "print")
    if access is not None:
        grant = dataclasses.replace(grant, access=access)
    return Admitted(policy, grant, NOW)


class Only:
    """A token's path list."""

    unanchored = ()

    def allows(self, target: bytes) -> bool:
        return target.partition(b"?")[0] == b"/nomisapi/health"


@pytest.mark.parametrize(
    ("method", "target", "status", "words"),
    [
        (b"GET", b"/nomisapi/health", 0, ""),
        (b"GET", b"/nomisapi/health?x=/../y", 0, ""),
        (b"POST", b"/nomisapi/health", 403, "allowed for GET, HEAD only"),
        (b"GET", b"/heapdump", 403, "No rule allows this path."),
        (b"GET", b"/nomisapi/version", 403, "No path pattern of its client token matches."),
        (b"GET", b"/nomisapi/health/../offenders/A1484AE", 400, "dot segment"),
        (b"GET", b"/nomisapi/%2e%2e/offenders", 400, "dot segment"),
        (b"GET", b"/nomisapi//health", 400, "empty segment"),
        (b"GET", b"/nomisapi/health;x", 400, "semicolon"),
        (b"GET", b"/nomisapi%2fhealth", 400, "encoded slash"),
        (b"TRACE", b"/nomisapi/health", 403, "never allowed"),
    ],
)
def test_rules(method: bytes, target: bytes, status: int, words: str) -> None:
    gate = make(bearer=Notary())
    policy = Policy("booking", READ)
    if not status:
        gate.authorise(admitted(policy, Only()), "visits", method, target, frozenset(), 0.0)
        return
    with pytest.raises(Denied) as caught:
        gate.authorise(admitted(policy, Only()), "visits", method, target, frozenset(), 0.0)
    assert caught.value.problem.status == status
    assert words in caught.value.detail
    assert target.decode() not in caught.value.detail


def test_a_service_without_rules_is_forbidden() -> None:
    with pytest.raises(Denied, match="no rule for this service"):
        make(bearer=Notary()).authorise(
            admitted(Policy("booking", READ)), "money", b"GET", b"/nomisapi/health", frozenset(), 0.0
        )


def test_the_rate() -> None:
    gate = make(bearer=Notary())
    caller = admitted(Policy("booking", READ, rate=2, burst=3))

    def ask(at: float) -> str:
        try:
            gate.authorise(caller, "visits", b"GET", b"/nomisapi/health", frozenset(), at)
        except Denied as error:
            return error.problem.code
        return ""

    over = "rate_exceeded"
    assert [ask(100.0) for _ in range(5)] == ["", "", "", over, over]
    assert [ask(100.5) for _ in range(2)] == ["", over]
    assert [ask(200.0) for _ in range(4)] == ["", "", "", over]


def test_a_refused_path_does_not_use_the_rate() -> None:
    gate = make(bearer=Notary())
    caller = admitted(Policy("booking", READ, rate=1, burst=1))
    for _ in range(3):
        with pytest.raises(Denied):
            gate.authorise(caller, "visits", b"GET", b"/other", frozenset(), 1.0)
    gate.authorise(caller, "visits", b"GET", b"/nomisapi/health", frozenset(), 1.0)


def test_counters_outlive_a_reload() -> None:
    before, after = make(bearer=Notary(abc=verified())), make(bearer=Notary())
    before.authenticate(request("Authorization: Bearer abc"), b"", NOW)
    after.follow(before)
    denied(after, request())
    assert (after.verified, after.refused) == ({"token": 1}, {"unauthenticated": 1})


@pytest.mark.parametrize(
    ("grant", "target", "holds"),
    [
        (Grant("booking", "token", "print"), b"/nomisapi/health", True),
        (Grant("booking", "token", "print", expires=NOW), b"/nomisapi/health", False),
        (Grant("booking", "token", "print", expires=NOW + 1), b"/nomisapi/health", True),
        (Grant("booking", "token", "print of revoked"), b"/nomisapi/health", False),
        (Grant("nobody", "token", "print"), b"/nomisapi/health", False),
        (Grant("off", "token", "print"), b"/nomisapi/health", False),
        (Grant("booking", "token", "print"), b"/other", False),
    ],
)
def test_what_may_go_on(grant: Grant, target: bytes, holds: bool) -> None:
    gate = make(Policy("booking", READ), Policy("off", READ, enabled=False), bearer=Notary())
    assert gate.holds(grant, "visits", b"GET", target, NOW) is holds
    assert not gate.holds(grant, "money", b"GET", target, NOW)
