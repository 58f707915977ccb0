"""The ways to authenticate, each alone and all at once: API keys, tokens, OAuth, TLS client certificates."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.credentials import READ, ApiKey, api_key, bearer, oauth_table, tokens_table
from tests.support.issuer import Issuer
from tests.support.metrics import metric
from tests.support.problems import assert_problem
from tests.support.rawhttp import Answer, Truncated
from tests.support.tls import Certificate, PrivateCA
from tests.support.tokens import Provisioner
from tests.support.tunnel import Tunnel
from tests.support.waiting import wait_until

MakeGateway = Callable[..., Tunnel]
PATH = "/nomisapi/offenders/A1484AE"


def name_of(tunnel: Tunnel, answer: Answer) -> str:
    """Whom the upstream was told of; the last request was served."""
    assert answer.status == 200, answer.body
    return tunnel.upstream.ledger[-1].get("x-client-name") or ""


def test_api_keys_alone(make_gateway: MakeGateway) -> None:
    old, new, other = api_key(), api_key(), api_key()
    tunnel = make_gateway(
        {
            "named": {
                "booking": {"api_keys": [old.hash, new.hash], "allow": READ},
                "money": {"api_keys": [other.hash], "allow": {"visits": ["GET /money/**"]}},
            }
        }
    ).start()
    for key in (old, new):
        assert name_of(tunnel, tunnel.fetch(PATH, key.field)) == "booking"
        assert name_of(tunnel, tunnel.fetch(PATH, key.bearer)) == "booking"
        assert name_of(tunnel, tunnel.fetch(PATH, f"x-api-key: {key.text}")) == "booking"
        assert name_of(tunnel, tunnel.fetch(PATH, f"AUTHORIZATION: bearer  {key.text}")) == "booking"
    seen = len(tunnel.upstream.ledger)
    assert_problem(tunnel.fetch(PATH, other.field), 403, code="forbidden", hidden=("booking",))
    for wrong in (
        api_key(),
        ApiKey(old.hash),
        ApiKey(old.hash.removeprefix("sha256:")),
        ApiKey(old.text[:-1]),
        ApiKey(old.text + "A"),
        ApiKey(old.text.upper()),
        ApiKey(f"{old.text}, {new.text}"),
    ):
        for field in (wrong.field, wrong.bearer, f"Authorization: Basic {wrong.text}"):
            assert_problem(tunnel.fetch(PATH, field), 401, code="unauthenticated", hidden=("booking", "money"))
    twice = assert_problem(tunnel.fetch(PATH, old.field, old.field), 401)
    assert twice["detail"] == "The request has more than one X-Api-Key field."
    twice = assert_problem(tunnel.fetch(PATH, old.bearer, old.bearer), 401)
    assert twice["detail"] == "The request has more than one Authorization field."
    for field in (f"Cookie: {old.text}", f"Proxy-Authorization: Bearer {old.text}"):
        assert_problem(tunnel.fetch(PATH, field), 401)
    assert_problem(tunnel.fetch(PATH, f"X_Api_Key: {old.text}"), 400)
    assert_problem(tunnel.fetch(f"{PATH}?x-api-key={old.text}"), 401)
    assert len(tunnel.upstream.ledger) == seen


def test_a_query_or_a_trailer_proves_nothing(make_gateway: MakeGateway) -> None:
    key = api_key()
    tunnel = make_gateway({"named": {"booking": {"api_keys": [key.hash], "allow": {"visits": ["* /**"]}}}}).start()
    with tunnel.raw() as caller:
        chunked = f"2\r\n{{}}\r\n0\r\n{key.field}\r\n\r\n".encode()
        caller.start("POST", PATH, "Transfer-Encoding: chunked", "Trailer: X-Api-Key", body=chunked)
        assert_problem(caller.answer(), 401)
    assert tunnel.upstream.ledger == []


class Everything:
    """A gateway with all four ways in force."""

    def __init__(self, make: MakeGateway, issuer: Issuer, directory: Path) -> None:
        self.provisioner = Provisioner()
        self.key = api_key()
        ca = PrivateCA(directory / "callers-ca")
        self.by_dns = ca.issue_client(hosts=["booking.callers.internal"])
        self.by_uri = ca.issue_client(uris=["spiffe://callers/money"], common_name="booking.callers.internal")
        self.by_hash = ca.issue_client(common_name="nobody")
        self.by_common_name = ca.issue_client(common_name="licences")
        self.unknown = ca.issue_client(hosts=["stranger.internal"], common_name="licences")
        self.several = ca.issue_client(hosts=["booking.callers.internal"], uris=["spiffe://callers/money"])
        self.foreign = PrivateCA(directory / "foreign-ca").issue_client(hosts=["booking.callers.internal"])
        self.tunnel = make(
            {
                "tokens": tokens_table(directory / "provisioning.pem", self.provisioner),
                "oauth": {"platform": oauth_table(issuer)},
                "named": {
                    "by-key": {"api_keys": [self.key.hash], "allow": READ},
                    "by-token": {"tokens": ["visits-public"], "allow": READ},
                    "by-oauth": {"oauth": ["platform/visits-api"], "allow": READ},
                    "by-dns": {"certificates": ["Booking.callers.internal"], "allow": READ},
                    "by-uri": {"certificates": ["spiffe://callers/money"], "allow": READ},
                    "by-hash": {"certificates": [self.by_hash.fingerprint], "allow": READ},
                    "by-common-name": {"certificates": ["licences"], "allow": READ},
                },
            },
            {"listen": {"callers_tls": {"client_ca": str(ca.ca_file), "client_certificates": "optional"}}},
            callers_tls=True,
        ).start()

    def ask(self, *fields: str, shown: Certificate | None = None, target: str = PATH) -> Answer:
        assert self.tunnel.ca is not None
        with self.tunnel.raw(tls=self.tunnel.ca.client_context(shown)) as caller:
            return caller.get(target, *fields)

    def name(self, *fields: str, shown: Certificate | None = None) -> str:
        return name_of(self.tunnel, self.ask(*fields, shown=shown))


@pytest.fixture
def everything(make_gateway: MakeGateway, issuer: Issuer, tmp_path: Path) -> Everything:
    all_ways = Everything(make_gateway, issuer, tmp_path)
    stranger = bearer(issuer.token("a stranger"))
    wait_until(lambda: all_ways.ask(stranger).status == 403, "the issuer's keys")
    return all_ways


def test_all_ways_at_once(everything: Everything, issuer: Issuer) -> None:
    token = bearer(everything.provisioner.client("visits-public").bearer())
    untabled = bearer(everything.provisioner.client("moves").bearer())
    oauth = bearer(issuer.token("visits-api"))
    assert everything.name(everything.key.field) == "by-key"
    assert everything.name(everything.key.bearer) == "by-key"
    assert everything.name(token) == "by-token"
    assert everything.name(untabled) == "moves", "a client without a table goes by its own name"
    assert everything.name(oauth) == "by-oauth"
    assert everything.name(shown=everything.by_dns) == "by-dns"
    assert everything.name(shown=everything.by_uri) == "by-uri"
    assert everything.name(shown=everything.by_hash) == "by-hash"
    assert everything.name(shown=everything.by_common_name) == "by-common-name"
    assert everything.name(token, shown=everything.by_dns) == "by-token", "a field speaks for the request"
    assert_problem(everything.ask(), 401)
    for field in (
        everything.key.bearer.replace("Bearer ", ""),
        everything.key.bearer.replace("Authorization", "X-Api-Key"),
        token.replace("Authorization", "X-Api-Key"),
        "Authorization: Bearer \xe9.\xe9.\xe9",
        "X-Api-Key: tk_\xe9",
        f"Authorization: Bearer {'a' * 9000}.b.c",
    ):
        assert_problem(everything.ask(field), 401, code="unauthenticated")
    impostor = bearer(everything.provisioner.client("by-key").bearer())
    assert_problem(everything.ask(impostor), 403, code="forbidden")
    unknown = assert_problem(everything.ask(shown=everything.unknown), 401)
    assert unknown["detail"] == "The TLS client certificate belongs to no caller of this gateway."
    several = assert_problem(everything.ask(shown=everything.several), 401)
    assert "names several callers" in several["detail"]
    assert "by-dns" not in several["detail"]
    assert_problem(everything.ask(bearer(issuer.token("stranger"))), 403, code="forbidden")
    means = {
        name: metric(everything.tunnel.hub, "tunnel_hub_credentials_verified_total", means=name)
        for name in ("api_key", "token", "oauth", "certificate")
    }
    assert all(means.values()), means


def test_a_wrong_credential_is_not_made_good_by_another(everything: Everything) -> None:
    """A bad key or bearer beside a good certificate: the caller is told, instead of served under another name."""
    good = everything.by_dns
    for field in (api_key().field, api_key().bearer, bearer(Provisioner().client().bearer())):
        assert_problem(everything.ask(field, shown=good), 401)


@pytest.mark.parametrize("second", ["key", "token", "oauth"])
def test_no_second_credential_leaves_the_hub(everything: Everything, issuer: Issuer, second: str) -> None:
    """The gateway's own credentials never reach an upstream, not even where another one was enough."""
    shown = {
        "key": everything.key.bearer,
        "token": bearer(everything.provisioner.client("visits-public").bearer()),
        "oauth": bearer(issuer.token("visits-api")),
    }[second]
    assert "two credentials" in assert_problem(everything.ask(everything.key.field, shown), 401)["detail"]
    assert "two credentials" in assert_problem(everything.ask(shown, everything.key.field), 401)["detail"]
    assert everything.tunnel.upstream.ledger == []
    theirs = bearer(issuer.token(payload={"iss": "https://another.issuer/"}))
    assert everything.name(everything.key.field, theirs) == "by-key"
    assert everything.tunnel.upstream.ledger[-1].get("authorization") == theirs.removeprefix("Authorization: ")


def test_an_untrusted_certificate_ends_the_handshake(everything: Everything) -> None:
    with pytest.raises((OSError, Truncated)):
        everything.ask(shown=everything.foreign)
    assert everything.tunnel.upstream.ledger == []


@pytest.mark.parametrize("mode", ["required", "optional"])
def test_certificates_alone(make_gateway: MakeGateway, tmp_path: Path, mode: str) -> None:
    ca = PrivateCA(tmp_path / "callers-ca")
    shown = ca.issue_client(hosts=["booking.callers.internal"])
    tunnel = make_gateway(
        {"named": {"booking": {"certificates": ["booking.callers.internal"], "allow": READ}}},
        {"listen": {"callers_tls": {"client_ca": str(ca.ca_file), "client_certificates": mode}}},
        callers_tls=True,
    ).start()
    assert tunnel.ca is not None
    with tunnel.raw(tls=tunnel.ca.client_context(shown)) as caller:
        for _ in range(3):
            assert name_of(tunnel, caller.get(PATH)) == "booking"
        assert name_of(tunnel, caller.get(PATH, "Authorization: Bearer of.the.upstreams")) == "booking"
    assert metric(tunnel.hub, "tunnel_hub_credentials_verified_total", means="certificate") == 1
    if mode == "optional":
        with tunnel.raw(tls=tunnel.ca.client_context()) as caller:
            assert_problem(caller.get(PATH), 401)
    else:
        with (
            pytest.raises((OSError, AssertionError, Exception)),
            tunnel.raw(tls=tunnel.ca.client_context()) as caller,
        ):
            caller.get(PATH)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_resumed_tls_session_shows_the_same_certificate(
    make_gateway: MakeGateway, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """Java and Go clients resume; the certificate is not sent again then."""
    ca = PrivateCA(tmp_path / "callers-ca")
    tunnel = make_gateway(
        {"named": {"booking": {"certificates": ["booking.callers.internal"], "allow": READ}}},
        {"listen": {"callers_tls": {"client_ca": str(ca.ca_file), "client_certificates": "optional"}}},
        callers_tls=True,
    ).start()
    assert tunnel.ca is not None
    context = tunnel.ca.client_context(ca.issue_client(hosts=["booking.callers.internal"]))
    context.maximum_version = version
    session: ssl.SSLSession | None = None
    reused = []
    for _ in range(2):
        with context.wrap_socket(tunnel.socket(), server_hostname="127.0.0.1", session=session) as caller:
            caller.sendall(f"GET {PATH} HTTP/1.1\r\nHost: visits.internal\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while data := caller.recv(65536):
                answer += data
            assert answer.startswith(b"HTTP/1.1 200 ")
            session = caller.session
            reused.append(caller.session_reused)
    assert reused == [False, True]
    assert tunnel.upstream.ledger[-1].get("x-client-name") == "booking"
