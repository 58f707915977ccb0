"""What a service's chart shows, and says to whoever cannot see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.ops.console.charts import Spark, spark
from protocol.ops.console.words import latency, rate

from .sampler import KEPT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sampler import Pace

POINTS: Final = KEPT - 1


class Chart(NamedTuple):
    """Requests and errors per second, and the 95th percentile, over the last five minutes."""

    requests: Spark
    errors: Spark
    p95: Spark
    rates_text: str
    latency_text: str


def chart(course: Sequence[Pace]) -> Chart:
    requests = [pace.requests_per_second for pace in course]
    errors = [pace.errors / pace.seconds if pace.seconds else 0.0 for pace in course]
    slow = [pace.percentiles[1] for pace in course]
    top = max(requests, default=0.0)
    wrong = max(errors, default=0.0)
    slowest = max((value for value in slow if value is not None), default=None)
    return Chart(
        spark(requests, POINTS),
        spark(errors, POINTS, top),
        spark(slow, POINTS),
        f"Requests per second in five minutes: at most {rate(top)}, errors at most {rate(wrong)}",
        f"95th percentile in five minutes: at most {latency(slowest)}",
    )
