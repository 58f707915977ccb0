"""Take the pictures of the documentation: `python -m tests.pictures --seconds 300`, into docs/pictures.

Hub, agents and upstreams are real, their load and faults made up: a service whose agent is stopped, one with an
upstream that sometimes fails, three callers. Look at the pictures before you commit them.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.browser import DESKTOP, PHONE, WHY_NOT, Page, chromium
from tests.support.credentials import ApiKey, api_key
from tests.support.keys import KeyRing
from tests.support.operators import Operator, make_operator
from tests.support.toml import merge
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange
from tests.support.waiting import wait_until

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"

SERVICES = ("visits", "prisoners", "money")
CALLERS = ("booking", "staff-portal", "reports")
PATHS = ("/nomisapi/version", "/nomisapi/offenders/A1234BC/visits", "/nomisapi/lookup/active_offender")
TOP = 1040
"""Height of the wide pictures."""


async def upstream(x: Exchange) -> None:
    """Mostly quick, sometimes slow, rarely broken."""
    await asyncio.sleep(random.lognormvariate(-4.6, 0.8))  # 10 ms in the middle
    if random.random() < 0.006:
        await x.answer(500, body=b"{}")
    else:
        await x.answer(200, body=b"{}" * random.randint(50, 2000))


def make(folder: Path, operator: Operator, keys: dict[str, ApiKey]) -> Tunnel:
    ring = KeyRing(folder)
    allow = {name: ["GET /**"] for name in SERVICES}
    named = {name: {"api_keys": [key.hash], "allow": allow} for name, key in keys.items()}
    more = {
        "services": {name: {"hosts": [f"{name}.internal"], "hold": "200ms"} for name in SERVICES},
        "agents": {
            "leeds-1": {"services": ["visits", "prisoners"]},
            "leeds-2": {"services": ["visits", "prisoners"]},
            "york-1": {"services": ["money"]},
        },
        "callers": {"authentication": "required", "named": named},
    }
    tunnel = Tunnel(
        folder / "tunnel",
        ring,
        agent_ids=("leeds-1", "leeds-2", "york-1"),
        hub_options=merge(operator.table, more),
        service={"paths": []},
    )
    for agent, names in zip(tunnel.agents, (SERVICES[:2], SERVICES[:2], SERVICES[2:]), strict=True):
        agent.config["services"] = {
            name: {"upstream": tunnel.upstream.url, "allow": ["GET /**"]} for name in names
        }
        agent.write_config()
    tunnel.upstream.on("/*", upstream)
    tunnel.upstream.on("/nomisapi/*", upstream)
    return tunnel


@contextmanager
def load(tunnel: Tunnel, keys: dict[str, ApiKey]) -> Iterator[None]:
    """Callers whose eagerness comes and goes."""
    over = threading.Event()

    def call(number: int, caller: str, service: str) -> None:
        fields = {"Host": f"{service}.internal", "X-Api-Key": keys[caller].text}
        with httpx.Client(base_url=tunnel.hub.url, headers=fields, trust_env=False, timeout=30) as client:
            while not over.is_set():
                client.get(random.choice(PATHS))
                wave = 1.2 + math.sin(time.monotonic() / 23 + number)
                over.wait(0.05 * wave * (6 if service == "money" else 1) * random.random())

    pairs = [(caller, service) for caller in CALLERS for service in SERVICES]
    with ThreadPoolExecutor(len(pairs)) as pool:
        running = [pool.submit(call, number, *pair) for number, pair in enumerate(pairs)]
        try:
            yield
        finally:
            over.set()
            for each in running:
                each.result()


def take(page: Page, tunnel: Tunnel, operator: Operator, folder: Path) -> None:
    url = tunnel.hub.admin_url
    page.open(url + "/login")
    page.fill("key", operator.key)
    page.press("\n")
    page.wait_text(".who", operator.name)
    for name, path, dark, size, height in (
        ("hub-light", "/", False, DESKTOP, TOP),
        ("hub-dark", "/", True, DESKTOP, TOP),
        ("hub-phone", "/", False, PHONE, 1160),
        ("hub-agent", "/agents/leeds-1", False, DESKTOP, None),
        ("hub-switch", "/switch/service/off/visits", False, DESKTOP, None),
    ):
        page.look(dark=dark, size=size)
        page.open(url + path)
        if path == "/":
            page.wait_text(".live-note", "Live")
        page.picture(folder / f"{name}.png", height)
        print(folder / f"{name}.png", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the documentation's pictures")
    parser.add_argument("--seconds", type=float, default=300, help="of load before; charts show five minutes")
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    if WHY_NOT:
        sys.exit(f"screenshots: {WHY_NOT}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    operator, keys = make_operator(), {name: api_key() for name in CALLERS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pictures-")))
        tunnel = make(folder, operator, keys)
        stack.callback(tunnel.close)
        tunnel.start()
        page = stack.enter_context(chromium())
        stack.enter_context(load(tunnel, keys))
        time.sleep(arguments.seconds * 0.95)
        tunnel.agents[2].stop()
        wait_until(lambda: money(tunnel) == "without agent", "money to be without agent")
        time.sleep(arguments.seconds * 0.05)
        take(page, tunnel, operator, arguments.out)


def money(tunnel: Tunnel) -> Any:
    services = tunnel.hub.admin("/api/status").json()["services"]
    return next(each["state"] for each in services if each["name"] == "money")


if __name__ == "__main__":
    main()
