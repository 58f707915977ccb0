"""Reading a program's metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.support.process import Program


def metric(program: Program, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels; 0 where there are none."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(program.admin("/metrics").text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def reached_agent(program: Program) -> float:
    """How many requests came to an agent: those for the upstream and those that its boundary refused."""
    return metric(program, "tunnel_agent_requests_total") + metric(program, "tunnel_agent_refusals_total")
