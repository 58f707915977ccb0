"""The hub's status page in a real browser, while load and faults run: what a person sees, reads and does."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.e2e.test_audit import wait_line
from tests.e2e.test_console import metrics, service, status
from tests.support.browser import DESKTOP, PHONE, WHY_NOT, Page, axe_script, chromium
from tests.support.operators import Operator, make_operator
from tests.support.toml import merge
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until

CACHE = Path(__file__).parents[2] / ".pytest_cache" / "axe"

MakeTunnel = Callable[..., Tunnel]

pytestmark = [
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
    pytest.mark.timeout(240),
]
LOOKS = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as found:
        yield found


@pytest.fixture
def fresh(page: Page) -> Page:
    """The browser as if it were new."""
    page.open("about:blank")
    page.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    page.look()
    page.driver.get_log("browser")
    return page


@pytest.fixture
def operator() -> Operator:
    return make_operator()


@pytest.fixture
def operated(make_tunnel: MakeTunnel, operator: Operator) -> Tunnel:
    """A tunnel with an operator, two agents, and a second service that nobody serves."""
    tunnel = make_tunnel(
        agent_ids=("leeds-1", "leeds-2"),
        hub_options=merge(operator.table, {"audit": {"file": "hub-audit.jsonl"}}),
        service={"hold": "100ms"},
    ).start()
    tunnel.wait_sessions(4)
    tunnel.upstream.on("/nomisapi/*", reply(200, body=b"{}"))
    tunnel.upstream.on("/nomisapi/broken", reply(500))
    return tunnel


@contextmanager
def load(tunnel: Tunnel) -> Iterator[Counter[int]]:
    """Requests, one after the other, each tenth to what is broken; the answers' statuses, once it is over."""
    over = threading.Event()
    answers: Counter[int] = Counter()

    def run() -> None:
        number = 0
        while not over.is_set():
            number += 1
            path = "/nomisapi/broken" if number % 10 == 0 else "/nomisapi/version"
            answers[tunnel.get(path).status_code] += 1

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            yield answers
        finally:
            over.set()
            running.result()


def log_in(page: Page, url: str, operator: Operator) -> None:
    page.open(url + "/login")
    page.fill("key", operator.key)
    page.press(Keys.ENTER)
    page.wait_text(".who", operator.name)


def thin(count: int) -> str:
    """A number as the page writes it."""
    return f"{count:,}".replace(",", "\u202f")


def number(page: Page, title: str) -> str:
    """The value of a tile."""
    script = """
        for (const e of document.querySelectorAll('.tiles > div'))
            if (e.querySelector('dt').innerText === arguments[0]) return e.querySelector('dd').innerText;
    """
    return str(page.run(script, title))


def test_it_shows_what_is_so_while_load_and_faults_run(fresh: Page, operated: Tunnel) -> None:
    page, tunnel = fresh, operated
    page.open(tunnel.hub.admin_url)
    page.wait_text("#headline", "All services and agents are up")
    page.wait_text(".live-note", "Live")
    assert number(page, "Agents up").split() == ["2", "of", "2"]
    with load(tunnel) as answers:
        wait_until(lambda: number(page, "Requests per second") not in ("0", "<0.1"), "a rate", 20, 0.1)
        page.wait_text('[data-part="failures"]', "/nomisapi/broken")
        tunnel.agents[1].kill()
        page.wait_text("#headline", "leeds-2 is away", 20)
        page.wait_text('[data-part="agents"]', "away")
        tunnel.agents[0].kill()
        page.wait_text("#headline", "visits is without agent", 20)

    sent, failed = sum(answers.values()), sum(answers[status] for status in answers if status >= 500)
    counted = service(tunnel)
    assert (counted["requests"], counted["errors"]) == (sent, failed), "what callers' own ledger says"
    assert metrics(tunnel)["tunnel_hub_requests_total visits"] == sent
    assert len(tunnel.upstream.requests("/nomisapi/*")) >= answers[200] + answers[500]
    page.wait_text('[data-part="services"]', f"{thin(failed)} of {thin(sent)}")
    page.wait_text('[data-part="failures"]', "no_session")
    assert number(page, "Sessions") == "0"

    tunnel.agents[0].start()
    page.wait_text("#headline", "leeds-2 is away", 20)
    assert "visits" not in page.text("#headline")
    assert page.errors() == []


def test_it_says_when_it_is_not_live(fresh: Page, operated: Tunnel) -> None:
    page, tunnel = fresh, operated
    page.open(tunnel.hub.admin_url)
    page.wait_text(".live-note", "Live")
    for agent in tunnel.agents:
        agent.stop()
    tunnel.hub.stop()
    page.wait_text(".live-note", "Not live")
    tunnel.hub.start()
    page.wait_text(".live-note", "Live", 30)
    page.wait_text("#headline", "visits is without agent")


def test_by_keyboard_alone(fresh: Page, operated: Tunnel, operator: Operator) -> None:
    """Log in, switch a service off with a reason, and on again, without a mouse."""
    page, tunnel = fresh, operated
    page.open(tunnel.hub.admin_url)
    page.press(Keys.TAB)
    assert "Skip to content" in page.focused()
    page.tab_to("Switch off… visits")
    page.press(Keys.ENTER)
    page.wait_text("h1", "Log in")
    assert "key" in page.focused().lower(), "the field has the focus"
    page.press("tk_nonsense", Keys.ENTER)
    page.wait_text(".problem", "not the key of an operator")
    page.press(operator.key, Keys.ENTER)
    page.wait_text("h1", "Switch visits off?")
    assert service(tunnel)["state"] == "up", "nothing without confirmation"
    assert "Why?" in page.focused()
    page.press(Keys.ENTER)
    assert "Switch visits off?" in page.text("h1"), "nothing without a reason"
    page.press("drill by keyboard", Keys.ENTER)
    page.wait_text("#headline", "visits is switched off")
    page.wait_text('[data-part="services"]', "drill by keyboard")
    assert service(tunnel)["state"] == "switched off"
    assert tunnel.get("/nomisapi/version").status_code == 503
    wait_line(tunnel.hub, "service switched off", operator=operator.name, reason="drill by keyboard")

    page.tab_to("Switch on… visits")
    page.press(Keys.ENTER)
    page.wait_text("h1", "Switch visits on?")
    page.press("drill is over")
    page.tab_to("Switch on")
    page.press(Keys.ENTER)
    page.wait_text("#headline", "All services and agents are up")
    assert tunnel.get("/nomisapi/version").status_code == 200


def test_the_focus_stays_while_the_page_renews_itself(fresh: Page, operated: Tunnel) -> None:
    page, tunnel = fresh, operated
    page.open(tunnel.hub.admin_url)
    page.tab_to("leeds-1")
    page.run(
        "window.seen = 0; new MutationObserver(() => window.seen++).observe("
        "document.querySelector('[data-part=\"agents\"]'), {childList: true})"
    )
    with load(tunnel):
        wait_until(lambda: page.run("return window.seen") >= 2, "two renewals", 20, 0.1)
    assert "leeds-1" in page.focused()
    shown = page.run(
        "const e = document.activeElement; return [getComputedStyle(e).outlineStyle, e.matches(':focus-visible')]"
    )
    assert shown == ["solid", True]


def test_it_can_be_paused(fresh: Page, operated: Tunnel) -> None:
    page, tunnel = fresh, operated
    page.open(tunnel.hub.admin_url)
    page.wait_text(".live-note", "Live")
    page.tab_to("Pause")
    page.press(Keys.ENTER)
    page.wait_text(".live-note", "Paused")
    tunnel.agents[1].stop()
    wait_until(lambda: status(tunnel)["agents_up"] == 1, "one agent to be away")
    page.press(Keys.ENTER)
    page.wait_text("#headline", "leeds-2 is away")


def test_what_is_read_aloud_is_only_what_has_changed(fresh: Page, operated: Tunnel) -> None:
    """The one live region hears of states, not of every number."""
    page, tunnel = fresh, operated
    page.open(tunnel.hub.admin_url)
    page.wait_text(".live-note", "Live")
    assert page.run("return document.querySelectorAll('[aria-live], [role=status], [role=alert]').length") == 1
    page.run(
        "window.said = 0; window.seen = 0;"
        "new MutationObserver(() => window.said++).observe("
        "document.querySelector('#headline'), {childList: true});"
        "new MutationObserver(() => window.seen++).observe("
        "document.querySelector('[data-part=tiles]'), {childList: true})"
    )
    with load(tunnel):
        wait_until(lambda: page.run("return window.seen") >= 3, "three renewals", 20, 0.1)
        assert page.run("return window.said") == 0
        tunnel.agents[1].stop()
        wait_until(lambda: page.run("return window.said"), "the news", 20, 0.1)


PATHS = ("/", "/agents", "/agents/leeds-1", "/failures", "/codes", "/login", "/switch/service/off/visits")


@LOOKS
def test_an_accessibility_checker_finds_nothing_serious(
    fresh: Page, operated: Tunnel, operator: Operator, dark: bool
) -> None:
    try:
        axe = axe_script(CACHE)
    except LookupError as error:
        pytest.skip(str(error))
    page, tunnel = fresh, operated
    page.open("data:text/html,<title>x</title><img src=x><p style='color:silver;background:white'>pale")
    assert len(page.axe(axe)) >= 2, "the checker finds what is wrong"
    tunnel.get("/nomisapi/broken")
    tunnel.agents[1].stop()
    wait_until(lambda: tunnel.get("/nomisapi/version").status_code == 200, "an answer")
    log_in(page, tunnel.hub.admin_url, operator)
    for size in (DESKTOP, PHONE):
        page.look(dark=dark, size=size)
        for path in PATHS:
            page.open(tunnel.hub.admin_url + path)
            assert page.axe(axe) == [], f"{path} {size}"
    assert page.errors() == []


@LOOKS
def test_a_phone_needs_no_sideways_scrolling(
    fresh: Page, operated: Tunnel, operator: Operator, dark: bool
) -> None:
    page, tunnel = fresh, operated
    tunnel.get("/nomisapi/broken")
    tunnel.get("/nomisapi/offenders/A1234BC/visits/1234567/booking")
    tunnel.fetch("/", host="nobody.internal")
    page.look(dark=dark, size=PHONE)
    log_in(page, tunnel.hub.admin_url, operator)
    for path in PATHS:
        page.open(tunnel.hub.admin_url + path)
        assert page.run("return document.documentElement.scrollWidth") <= PHONE[0], path
    background = page.run("return getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) is dark


def test_without_scripts_it_shows_everything_once(fresh: Page, operated: Tunnel) -> None:
    page, tunnel = fresh, operated
    tunnel.get("/nomisapi/broken")
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open(tunnel.hub.admin_url)
        source = page.driver.page_source
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    for words in (
        "All services and agents are up",
        "leeds-1",
        "leeds-2",
        "/nomisapi/broken",
        "Requests per second",
    ):
        assert words in source
