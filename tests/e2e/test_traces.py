"""A trace from a caller through hub and agent to the upstream, received whole by a collector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.metrics import metric
from tests.support.otlp import Collector, Received
from tests.support.process import run_once
from tests.support.seeded import seed
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange, reply
from tests.support.waiting import wait_until

MakeTunnel = Callable[..., Tunnel]
PATH = "/nomisapi/offenders/A1475AE"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def parent(sampled: bool = True, trace: str = TRACE) -> str:
    return f"traceparent: 00-{trace}-{CALLER}-{'01' if sampled else '00'}"


def traced(collector: Collector, **more: Any) -> dict[str, Any]:
    return {"tracing": {"endpoint": collector.url, **more}}


@pytest.fixture
def make_traced(make_tunnel: MakeTunnel, collector: Collector) -> Callable[..., Tunnel]:
    def make(*, tracing: dict[str, Any] | None = None, **options: Any) -> Tunnel:
        table = traced(collector, **(tracing or {}))
        return make_tunnel(hub_options=table, agent_options=table, **options).start()

    return make


def told(tunnel: Tunnel, path: str = PATH) -> tuple[str, str, str]:
    """Trace, span and flags that the upstream was told."""
    value = tunnel.upstream.requests(path)[-1].get("traceparent")
    assert value is not None
    version, trace, span, flags = value.split("-")
    assert version == "00"
    return trace, span, flags


def by_place(spans: list[Received]) -> dict[tuple[str, str], list[Received]]:
    places: dict[tuple[str, str], list[Received]] = {}
    for span in sorted(spans, key=lambda span: span.began):
        places.setdefault((span.program, span.kind), []).append(span)
    return places


def test_a_trace_is_received_whole(
    make_traced: Callable[..., Tunnel], collector: Collector, tmp_path: Path
) -> None:
    credential = seed("s3cr3t-collector-token")
    headers = tmp_path / "collector.headers"
    headers.write_text(f"Authorization: Bearer {credential}\n")
    tunnel = make_traced(tracing={"headers_file": str(headers), "attributes": {"service.namespace": "prison"}})
    tunnel.upstream.on(PATH, reply(200, body=b"12345"))
    secret = seed("s3cr3t-cookie")
    fields = (parent(), "tracestate: vendor=1", f"Cookie: {secret}", "X-Request-Id: traced-1")
    assert tunnel.fetch(f"{PATH}?date_of_birth=1979-04-23", *fields).status == 200

    spans = collector.wait(4, TRACE)
    assert len(spans) == 4
    places = by_place(spans)
    (hub,), (attempt,) = places["tunnel-hub", "server"], places["tunnel-hub", "client"]
    (agent,), (upstream,) = places["tunnel-agent", "server"], places["tunnel-agent", "client"]
    assert hub.parent == CALLER
    assert attempt.parent == hub.id
    assert agent.parent == attempt.id
    assert upstream.parent == agent.id
    assert told(tunnel) == (TRACE, upstream.id, "01")
    assert tunnel.upstream.requests(PATH)[-1].get("tracestate") == "vendor=1"

    for span in spans:
        assert span.name == "GET visits"
        assert span.attributes["http.request.method"] == "GET"
        assert span.resource["service.namespace"] == "prison"
        assert not span.failed
        assert span.began <= span.ended
    assert hub.began <= attempt.began <= attempt.ended <= hub.ended
    assert agent.began <= upstream.began <= upstream.ended <= agent.ended
    assert hub.attributes["http.response.status_code"] == upstream.attributes["http.response.status_code"] == 200
    assert hub.attributes["tunnel.request_id"] == agent.attributes["tunnel.request_id"] == "traced-1"
    assert hub.attributes["http.response.body.size"] == 5
    assert (hub.resource["service.instance.id"], agent.resource["service.instance.id"]) == ("hub-1", "leeds-1")
    assert list(hub.events) == ["sent", "answered"]
    assert list(upstream.events) == ["request sent", "answer begun"]
    assert hub.attributes["tunnel.phase.upstream_first_byte_ms"] > 0

    for personal in (b"1979", b"A1475AE", b"127.0.0.1", secret.encode()):
        assert personal not in collector.raw
    assert all(fields["authorization"] == f"Bearer {credential}" for fields, _ in collector.posts)
    assert all(path == "/v1/traces" for _, path in collector.posts)
    for program in (tunnel.hub, tunnel.agent):
        wait_until(
            lambda: metric(program, "tunnel_trace_spans_total", outcome="sent") >= 2,  # noqa: B023
            "what was sent to be counted",
        )
        assert credential not in program.log()


def test_the_callers_decision_holds_and_the_ratio_without_one(
    make_traced: Callable[..., Tunnel], collector: Collector
) -> None:
    tunnel = make_traced(tracing={"sample_ratio": 1, "paths": True})
    tunnel.upstream.on(PATH + "*", reply())
    tunnel.fetch(PATH, parent(sampled=False))
    assert told(tunnel) == (TRACE, CALLER, "00")  # as it came: nobody here records it

    tunnel.fetch(PATH + "/new?q=s3cr3t")
    trace, span, flags = told(tunnel, PATH + "/new")
    spans = collector.wait(4, trace)
    assert flags == "01"
    places = by_place(spans)
    assert places["tunnel-hub", "server"][0].parent == ""
    assert places["tunnel-agent", "client"][0].id == span
    assert {entry.attributes.get("url.path") for entry in spans} == {PATH + "/new", None}

    for value in ("00-" + "0" * 32 + f"-{CALLER}-01", "nonsense"):  # W3C: begin anew
        tunnel.fetch(PATH + "/invalid", f"traceparent: {value}", "tracestate: vendor=1")
        received = tunnel.upstream.requests(PATH + "/invalid")[-1]
        collector.wait(4, told(tunnel, PATH + "/invalid")[0])
        assert not received.has("tracestate")
    assert collector.spans(TRACE) == []


def test_at_ratio_0_only_what_callers_record_is(make_traced: Callable[..., Tunnel], collector: Collector) -> None:
    tunnel = make_traced(tracing={"sample_ratio": 0})
    tunnel.upstream.on(PATH, reply())
    tunnel.fetch(PATH)
    assert not tunnel.upstream.only(PATH).has("traceparent")
    tunnel.fetch(PATH, parent())
    collector.wait(4, TRACE)
    assert {span.trace_id for span in collector.spans()} == {TRACE}


def test_failures_and_repetitions(make_traced: Callable[..., Tunnel], collector: Collector) -> None:
    tunnel = make_traced(service={"deadline": "20s"}, agent_ids=("leeds-1", "york-1"))

    async def closes(x: Exchange) -> None:
        await x.body()
        x.close()

    tunnel.upstream.on("/nomisapi/closes", closes)
    tunnel.upstream.on("/nomisapi/fails", reply(503, body=b"no"))
    failed, own, repeated = "a" * 32, "b" * 32, "c" * 32
    assert tunnel.fetch("/nomisapi/closes", parent(trace=failed), method="POST", body=b"x").status == 502
    places = by_place(collector.wait(4, failed))
    for span in (places["tunnel-hub", "server"][0], places["tunnel-agent", "server"][0]):
        assert span.failed
        assert span.attributes["error.type"] == "upstream_closed"
    assert places["tunnel-hub", "server"][0].attributes["http.response.status_code"] == 502

    assert tunnel.fetch("/nomisapi/fails", parent(trace=own)).status == 503
    for span in collector.wait(4, own):
        assert span.failed
        assert span.attributes["error.type"] == "503"

    lost = tunnel.upstream.requests("/nomisapi/lost")

    async def hangs(x: Exchange) -> None:
        await x.body()
        if len(tunnel.upstream.requests("/nomisapi/lost")) > 1:
            await x.answer(200, (), b"ok", "OK")
        else:
            victim = next(agent for agent in tunnel.agents if metric_of(agent))
            victim.kill()

    def metric_of(agent: Any) -> bool:
        return bool(metric(agent, "tunnel_agent_streams"))

    assert not lost
    tunnel.upstream.on("/nomisapi/lost", hangs)
    assert tunnel.fetch("/nomisapi/lost", parent(trace=repeated), timeout=30).status == 200
    collector.wait(5, repeated)  # the agent that was killed tells nothing of its own
    spans = wait_until(
        lambda: by_place(collector.spans(repeated)) if len(collector.spans(repeated)) == 5 else None, "the trace"
    )
    first, second = spans["tunnel-hub", "client"]
    (hub,) = spans["tunnel-hub", "server"]
    assert first.attributes["error.type"] == "session_lost"
    assert (first.failed, second.failed, hub.failed) == (True, False, False)
    assert first.parent == second.parent == hub.id
    assert second.attributes["http.request.resend_count"] == 1
    (agent,) = spans["tunnel-agent", "server"]
    assert agent.parent == second.id


def test_a_collector_that_is_gone_costs_spans_alone(
    make_traced: Callable[..., Tunnel], collector: Collector
) -> None:
    collector.status = 400
    tunnel = make_traced(tracing={"sample_ratio": 1})
    tunnel.upstream.on(PATH, reply())
    for _ in range(5):
        assert tunnel.fetch(PATH).status == 200
    for program in (tunnel.hub, tunnel.agent):
        wait_until(
            lambda program=program: metric(program, "tunnel_trace_spans_total", outcome="failed") >= 2,
            "the spans to be given up",
        )
    tunnel.hub.stop()
    assert tunnel.hub.log().count("spans could not be sent") == 1


def test_without_tracing_nothing_of_it_is_loaded(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    tunnel.upstream.on(PATH, reply())
    tunnel.fetch(PATH, parent(), "tracestate: vendor=1")
    assert told(tunnel) == (TRACE, CALLER, "01")
    assert tunnel.upstream.requests(PATH)[-1].get("tracestate") == "vendor=1"
    for program in (tunnel.hub, tunnel.agent):
        maps = Path(f"/proc/{program.pid}/maps").read_text()
        assert "google/_upb" not in maps  # protobuf
        assert "tunnel_trace_spans" not in program.admin("/metrics").text


def test_without_the_extra_check_and_start_say_so(
    make_tunnel: MakeTunnel, collector: Collector, tmp_path: Path
) -> None:
    """A package of the same name without anything in it stands for the one that is not installed."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    tunnel = make_tunnel(hub_options=traced(collector), agent_options=traced(collector))
    for module, program in (("tunnel_hub.cli", tunnel.hub), ("tunnel_agent.cli", tunnel.agent)):
        for command in ("check", "run"):
            done = run_once(
                module, command, "--config", str(program.config_file), env={"PYTHONPATH": str(tmp_path)}
            )
            assert done.returncode == 2
            assert done.stderr.count("\n") == 1
            assert 'pip install "http-tunnel[otel]"' in done.stderr
