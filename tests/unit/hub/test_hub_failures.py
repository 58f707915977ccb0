from __future__ import annotations

from ipaddress import ip_network

from protocol.errors import StreamCode
from tests.unit.hub.rig import Rig
from tunnel_hub.failures import DENIALS_KEPT, FAULTS_KEPT, Failure, Failures
from tunnel_hub.problems import HUB_PROBLEMS


def failure(at: float, status: int, code: str = "x") -> Failure:
    return Failure(at, f"id-{at:g}", "visits", "", "GET", "/", status, "hub", code, "no", "", 0.0)


def test_a_flood_of_refusals_pushes_out_no_fault() -> None:
    failures = Failures()
    failures.add(failure(1, 503))
    for at in range(2, 10_000):
        failures.add(failure(at, 401))
    latest = list(failures.latest())
    assert len(latest) == DENIALS_KEPT + 1
    assert latest[-1].at == 1
    assert [each.at for each in latest] == sorted((each.at for each in latest), reverse=True)
    for at in range(10_000, 11_000):
        failures.add(failure(at, 200, "session_lost"))
    assert sum(each.status == 200 for each in failures.latest()) == FAULTS_KEPT


def test_only_failures_are_kept() -> None:
    rig = Rig()
    agent = rig.agent()
    for status in (200, 404, 500):
        rig.call()
        rig.settle()
        agent.visits[-1].answer(status)
        rig.settle()
    rig.call()
    rig.settle()
    agent.visits[-1].fail(StreamCode.UPSTREAM_INVALID)
    rig.settle()
    refused, answered = list(rig.hub.failures.latest())
    assert (answered.status, answered.origin, answered.code) == (500, "upstream", "")
    assert (refused.code, refused.agent, refused.service) == ("upstream_invalid", "", "visits")
    assert refused.method == "GET"
    assert refused.caller == "", "an address is nobody's name"
    rig.assert_nothing_left()


def test_an_address_behind_a_proxy_is_nobodys_name_either() -> None:
    rig = Rig()
    rig.hub.proxies.replace((ip_network("192.0.2.0/24"),))
    rig.service.settings = rig.service.settings._replace(enabled=False)
    call = rig.call(b"GET", b"X-Forwarded-For", b"198.51.100.7")
    assert call.exchange.caller == "198.51.100.7"
    (kept,) = rig.hub.failures.latest()
    assert kept.caller == ""


def test_what_the_ingress_refuses() -> None:
    rig = Rig()
    rig.hub.record_refusal("192.0.2.1", 431, "fields_too_large", "no", "cafe-1")
    (kept,) = rig.hub.failures.latest()
    assert (kept.request_id, kept.status, kept.code, kept.service) == ("cafe-1", 431, "fields_too_large", "")


def test_a_switch_leaves_a_trace_of_each_request() -> None:
    rig = Rig()
    rig.service.settings = rig.service.settings._replace(enabled=False)
    rig.call()
    (kept,) = rig.hub.failures.latest()
    assert kept.code == HUB_PROBLEMS["switched_off"].code
