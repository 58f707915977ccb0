"""A whole run: servers, one tunnel to all of them, each one's cases in turn, a hostile upstream's answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.differential.answers import NAME, Answers
from tests.differential.campaign import Campaign, Tally
from tests.differential.servers import Kind, Server
from tests.differential.setting import carried, make_tunnel


def run(
    folder: Path, chosen: Sequence[Kind], *, cases: int, answers: int, seed: int, tell: Callable[[str], None]
) -> list[Tally]:
    """`cases` requests to each of the servers, `answers` mutated answers; what came of them.

    folder: where ledgers and logs go. tell: is given a line when a part is done.
    """
    folder.chmod(0o755)  # servers that give up root must reach their own folders
    with ExitStack() as stack:
        servers = [stack.enter_context(_running(kind, folder / kind.name)) for kind in chosen]
        hostile = stack.enter_context(contextlib.closing(Answers(seed, answers)))
        upstreams = {server.kind.name: f"http://127.0.0.1:{server.port}" for server in servers}
        tunnel = make_tunnel(folder / "tunnel", {**upstreams, NAME: hostile.upstream.url})
        campaigns = []
        with contextlib.closing(tunnel):
            for server in servers:
                campaign = Campaign(tunnel, server, seed, cases)
                campaign.run()
                campaigns.append(campaign)
                assert server.running, (
                    f"{server.kind.name} ended: {server.log.read_text(errors='replace')[-2000:]}"
                )
                tell(f"{server.kind.name}: {cases} cases sent")
            direction = hostile.run(tunnel)
            tell(f"hostile upstream: {answers} answers")
            for program in (tunnel.hub, tunnel.agent):
                assert program.running, program.tail()
                assert "Traceback" not in program.log(), program.tail()
        for server in servers:
            server.close()  # access logs are written to their end
        logged = carried(tunnel)
        return [*(campaign.compare(logged) for campaign in campaigns), direction]


@contextmanager
def _running(kind: Kind, folder: Path) -> Iterator[Server]:
    server = Server(kind, folder)
    try:
        server.wait_ready()
        yield server
    finally:
        server.close()
