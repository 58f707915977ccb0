"""The agent's page in a real browser: live, by keyboard, on a phone, dark and light, for screen readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from selenium.webdriver.common.keys import Keys

from tests.support.browser import DESKTOP, PHONE, WHY_NOT, Page, axe_script, chromium
from tests.support.operators import Operator, make_operator
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until

MakeTunnel = Callable[..., Tunnel]

pytestmark = [
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(240),
]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as found:
        yield found


@pytest.fixture
def operator() -> Operator:
    return make_operator()


@pytest.fixture
def tunnel(make_tunnel: MakeTunnel, operator: Operator) -> Tunnel:
    """With something of everything to show: a failure, a refusal, a service that is switched off."""
    chat = {"upstream": "http://127.0.0.1:1", "allow": ["GET /**"], "enabled": False}
    tunnel = make_tunnel(
        agent_options={**operator.table, "services": {"chat": chat}},
        agent_service={"allow": ["GET /**"]},
        service={"hold": "0s"},
    ).start()
    tunnel.upstream.on("/nomisapi/*", reply())
    assert (
        tunnel.fetch("/nomisapi/offenders/A1234BC/visits/1234567/booking", method="POST", body=b"x").status == 403
    )
    return tunnel


def test_it_is_live_and_switched_by_keyboard(page: Page, tunnel: Tunnel, operator: Operator) -> None:
    page.look()
    page.open(str(tunnel.agent.admin_url))
    page.wait_text("#headline", "chat is switched off at the agent by the file")
    page.wait_text(".live-note", "Live")
    page.tab_to("Switch off… visits")
    page.press(Keys.ENTER)
    page.wait_text("h1", "Log in")
    page.press(operator.key, Keys.ENTER)
    page.wait_text("h1", "Switch visits off?")
    page.press("drill by keyboard", Keys.ENTER)
    page.wait_text("#headline", f"visits is switched off at the agent by the operator {operator.name}: drill by")
    wait_until(lambda: tunnel.get("/nomisapi/version").status_code == 503, "callers to be refused")
    page.tab_to("Switch on… visits")
    page.press(Keys.ENTER)
    page.wait_text("h1", "Switch visits on?")
    page.press("drill is over", Keys.ENTER)
    wait_until(lambda: tunnel.get("/nomisapi/version").status_code == 200, "callers to be served")
    page.wait_text(".live-note", "Live")
    tunnel.hub.kill()
    page.wait_text("#headline", "no session at ws://127.0.0.1:")
    page.wait_text('[data-part="sessions"]', "next try in")
    assert page.errors() == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_anybody_can_read_it(
    page: Page, tunnel: Tunnel, operator: Operator, dark: bool, request: pytest.FixtureRequest
) -> None:
    """Nothing serious for the accessibility checker; no sideways scrolling on a phone."""
    tunnel.hub.kill()
    wait_until(lambda: tunnel.agent.admin_status("/health") == 503, "the agent to notice")
    for size in (DESKTOP, PHONE):
        page.look(dark=dark, size=size)
        page.open(str(tunnel.agent.admin_url))
        assert page.run("return document.documentElement.scrollWidth") <= size[0]
        try:
            axe = axe_script(request.config.cache.mkdir("axe"))  # type: ignore[union-attr]
        except LookupError as error:
            pytest.skip(str(error))
        assert page.axe(axe) == []
