"""The inspector's pages in a real browser: nothing is in a reader's way, and the command can be copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from selenium.webdriver.common.keys import Keys

from tests.support.browser import DESKTOP, PHONE, WHY_NOT, Page, axe_script, chromium
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until
from tests.support.watcher import Watcher

pytestmark = [
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
    pytest.mark.timeout(240),
]

WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as found:
        yield found


@pytest.fixture
def recorded(make_tunnel: Callable[..., Tunnel], page: Page) -> str:
    """The address of a hub that has recorded two requests; the browser is logged in there."""
    operator = Watcher()
    tunnel = make_tunnel(hub_options=operator.options, agent_service={"allow": ["GET /**", "POST /**"]}).start()
    tunnel.upstream.on("/nomisapi/*", reply(200, [("Content-Type", "application/json")], body=b'{"fine": true}'))
    operator.post(tunnel.hub, "/api/inspector/visits", {"paths": "yes", "headers": "yes", "bodies": "yes"}, 201)
    tunnel.fetch("/nomisapi/one", "Authorization: Bearer abcdefghijkl")
    tunnel.fetch("/nomisapi/two", "Content-Type: application/json", method="POST", body=b'{"password": "hunter2"}')
    wait_until(
        lambda: len(operator.get(tunnel.hub, "/api/inspector/visits").json()["exchanges"]) == 2, "two recorded"
    )
    page.look()
    page.open(f"{tunnel.hub.admin_url}/login?next=/inspector")
    page.fill("key", operator.key)
    page.press(Keys.ENTER)
    page.wait_text("h1", "Inspector")
    page.errors()
    return str(tunnel.hub.admin_url)


PAGES = (
    "/inspector",
    "/inspector/visits",
    "/inspector/visits/1",
    "/inspector/visits/2",
    "/inspector/visits/1/replay",
)


def test_every_page_reads_well_at_every_size_and_for_everybody(
    recorded: str, page: Page, request: pytest.FixtureRequest
) -> None:
    """axe finds nothing serious, a phone shows all without scrolling sideways, the page's own policy is kept."""
    try:
        axe = axe_script(request.config.cache.mkdir("axe"))  # type: ignore[union-attr]
    except LookupError as error:
        pytest.skip(str(error))
    for path in PAGES:
        for dark, size in ((False, DESKTOP), (True, DESKTOP), (False, PHONE)):
            page.look(dark=dark, size=size)
            page.open(recorded + path)
            assert page.axe(axe) == [], (path, dark, size)
            assert page.run(WIDER) <= 0, (path, size)
    assert page.errors() == []


def test_the_command_is_copied_or_selected(recorded: str, page: Page) -> None:
    page.open(recorded + "/inspector/visits/1")
    page.tab_to("Copy")
    page.press(Keys.ENTER)
    wait_until(lambda: page.text("[data-copy] + span") in ("Copied.", "Selected; copy it now."), "a word about it")


def test_off_again_by_keyboard(recorded: str, page: Page) -> None:
    page.open(recorded + "/inspector/visits")
    page.tab_to("Switch off and drop all")
    page.press(Keys.ENTER)
    page.wait_text("#record", "Record")
    assert "one" not in page.text("main")
