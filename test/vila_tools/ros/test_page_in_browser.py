"""The page in a real browser, beside the whole robot in the simulator: skipped where there is no Chromium."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")
pytest.importorskip("fastapi")
pytest.importorskip("selenium", reason="selenium is not installed: the page is not tried in a browser")

from conftest import HANG_S
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from vila_tools.demo.run import DemoOptions, node_specs
from vila_tools.session.session import running

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver", path=os.pathsep.join([os.environ.get("CHROMEWEBDRIVER", ""), os.environ["PATH"]]))
if BROWSER is None or DRIVER is None:
    pytest.skip("no Chromium and chromedriver (Debian: chromium chromium-driver)", allow_module_level=True)
WIDER_THAN = """
return [...document.querySelectorAll('body *')].filter(one => one.checkVisibility() && !one.closest('.unseen, svg'))
  .filter(one => { const box = one.getBoundingClientRect(); return box.right > arguments[0] + 1 || box.left < -1; })
  .map(one => one.outerHTML.slice(0, 80));
"""
CONTRASTS = """
const numbers = colour => { const c = colour.match(/[\\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c; };
const bright = c => [0.2126, 0.7152, 0.0722].reduce((sum, share, i) => {
  const v = c[i] / 255; return sum + share * (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
const behind = one => { for (; one; one = one.parentElement) {
  const c = numbers(getComputedStyle(one).backgroundColor); if (c[3] === 1) return c; } return [255, 255, 255]; };
return [...document.querySelectorAll('body *')]
  .filter(one => one.checkVisibility() && [...one.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
  .map(one => { const pair = [numbers(getComputedStyle(one).color), behind(one)].map(bright).sort((a, b) => b - a);
    return [one.textContent.trim().slice(0, 60), (pair[0] + 0.05) / (pair[1] + 0.05)]; });
"""  # of each text, as WCAG counts it
DRIVE_S = 5 * HANG_S  # for a way through the flat, on a machine that does other things too
pytestmark = pytest.mark.slow


class Tab:
    """A tab of the browser that shows the page."""

    def __init__(self, browser: Chrome, address: str) -> None:
        self._browser = browser
        browser.switch_to.new_window("tab")
        browser.get(address)
        self._handle = browser.current_window_handle

    def to_front(self) -> Chrome:
        self._browser.switch_to.window(self._handle)
        return self._browser

    def text(self, name: str) -> str:
        element = self.to_front().find_element(By.ID, name)
        return element.get_property("textContent") if element.is_displayed() else ""

    def click(self, name: str) -> None:
        self.to_front().find_element(By.ID, name).click()

    def say(self, box: str, text: str) -> None:
        element = self.to_front().find_element(By.ID, box)
        element.clear()
        element.send_keys(text, Keys.ENTER)

    def key(self, key: str) -> None:
        self.to_front().find_element(By.TAG_NAME, "body").send_keys(key)

    def until(self, condition: Callable[[], object], timeout_s: float = HANG_S) -> None:
        until_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until_s:
                self.to_front().save_screenshot("out/page-failed.png") if Path("out").is_dir() else None
                pytest.fail(
                    f"not within {timeout_s} s; the page says:\n{self._browser.find_element(By.TAG_NAME, 'body').text}"
                )
            time.sleep(0.05)

    def close(self) -> None:
        self.to_front().close()
        self._browser.switch_to.window(self._browser.window_handles[0])


class Cable:
    """Passes connections on to a port until it is pulled; then nothing passes, and nobody is told."""

    def __init__(self, port: int) -> None:
        self._to, self._listener = port, socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._is_pulled = threading.Event()
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def pull(self) -> None:
        self._is_pulled.set()

    def plug(self) -> None:
        """What waited in the cable is lost; what connects from now on gets through."""
        for one in self._open[1:]:
            one.close()
        self._is_pulled.clear()

    def close(self) -> None:
        self._is_pulled.set()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                if self._is_pulled.is_set():
                    return
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return


PATIENCE = {"limits.lost_s": 2.0, "limits.held_up_s": 2.0}  # beside a browser and other tests nodes may be late


@pytest.fixture(scope="module")
def robot(tmp_path_factory) -> Iterator[tuple[int, Path]]:
    """The simulated robot with all its nodes: the port of its page, and the folder of the logs."""
    out = tmp_path_factory.mktemp("robot")
    before = dict(os.environ)
    specs = node_specs(DemoOptions(seed=3, page=True, page_port=0, record=True, out=out))
    (governor,) = (spec for spec in specs if spec.name == "governor")
    patient = dataclasses.replace(governor, parameters={**governor.parameters, **PATIENCE})
    with running([patient if spec is governor else spec for spec in specs], out):
        log, until_s = out / "log" / "page.log", time.monotonic() + HANG_S
        while "the page is at" not in log.read_text():
            assert time.monotonic() < until_s, log.read_text()
            time.sleep(0.05)
        yield int(log.read_text().partition("the page is at http://127.0.0.1:")[2].partition("/")[0]), out
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1500,1300",
        "--disable-dev-shm-usage",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options, Service(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def page(robot, browser) -> Iterator[Callable[..., Tab]]:
    """page(port): a tab; all are closed in the end, and the emergency stop is released."""
    tabs: list[Tab] = []

    def open_tab(port: int = robot[0]) -> Tab:
        tabs.append(Tab(browser, f"http://127.0.0.1:{port}/"))
        return tabs[-1]

    yield open_tab
    end = open_tab()
    end.until(lambda: end.text("connection") == "connected" and "not heard" not in end.text("governor"))
    end.click("cancel")
    while end.text("release"):  # by script: it may be gone before a mouse is there
        end.to_front().execute_script("document.getElementById('release').click()")
        time.sleep(0.2)
    for tab in tabs:
        tab.close()
    complaints = [row["message"] for row in browser.get_log("browser") if row["level"] == "SEVERE"]
    assert not [text for text in complaints if "WebSocket" not in text], complaints


def drive(tab: Tab, instruction: str = "go to the red chair") -> None:
    """Send the robot off, and wait until it moves."""
    tab.until(lambda: "ready" in tab.text("navigator"))
    tab.say("instruction", instruction)
    tab.until(lambda: "running" in tab.text("mission") and is_moving(tab))


def is_moving(tab: Tab) -> bool:
    return bool(tab.text("pose")) and "0.00 m/s, 0.00 rad/s" not in tab.text("pose").replace("-0.00", "0.00")


def test_the_emergency_stop_stops_a_driving_robot_and_both_tabs_show_it(page):
    one, other = page(), page()
    drive(one)
    one.key(Keys.ESCAPE)
    for tab in (one, other):
        tab.until(lambda tab=tab: "EMERGENCY STOP" in tab.text("alert"))
        tab.until(lambda tab=tab: not is_moving(tab) and "716" in tab.text("mission"))
    other.click("release")
    one.until(lambda: not one.text("alert"))
    assert not is_moving(one)


@pytest.mark.long
def test_the_button_stops_too_and_cancel_ends_an_instruction(page):
    tab = page()
    drive(tab)
    tab.click("cancel")
    tab.until(lambda: "stopped" in tab.text("mission") and not is_moving(tab))
    drive(tab)
    tab.click("stop")
    tab.until(lambda: "EMERGENCY STOP" in tab.text("alert") and not is_moving(tab))


@pytest.mark.long
def test_a_pulled_cable_is_shown_and_stops_a_robot_that_is_held(page, robot):
    cable = Cable(robot[0])
    far, near = page(cable.port), page()
    try:
        far.until(lambda: far.text("connection") == "connected")
        drive(far)
        far.click("hold")
        far.until(lambda: is_moving(far))
        cable.pull()
        far.until(lambda: far.text("connection") == "connection lost" and "what you see is old" in far.text("alert"))
        near.until(lambda: "EMERGENCY STOP" in near.text("alert") and not is_moving(near))
        far.key(Keys.ESCAPE)
        far.until(lambda: "NOT sent" in far.text("alert"))
        cable.plug()
        far.until(lambda: far.text("connection") == "connected" and "EMERGENCY STOP" in far.text("alert"))
    finally:
        far.click("hold")
        cable.close()


def test_text_from_outside_is_never_html(page):
    tab = page()
    tab.until(lambda: "ready" in tab.text("navigator"))
    attack = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
    for box in ("watched", "asked", "instruction"):
        tab.say(box, attack)
    tab.until(lambda: attack in tab.text("notes") and attack in tab.text("mission") + tab.text("notes"))
    assert tab.to_front().execute_script("return window.hacked === undefined")
    assert not tab.text("explanation")
    tab.say("instruction", "go to the red chair")
    tab.until(lambda: tab.text("reply").startswith("“"))
    tab.click("explain")
    tab.until(lambda: "asked again" in tab.text("explanation") or "leaving out" in tab.text("explanation"))
    assert tab.to_front().execute_script("return document.querySelectorAll('li img, dd img, main script').length") == 0


@pytest.mark.long
def test_a_query_is_added_and_removed_and_a_question_answered_for_both_tabs(page):
    one, other = page(), page()
    one.until(lambda: "ready" in one.text("navigator"))
    one.say("watched", "the red chair is in view")
    other.until(lambda: "the red chair is in view" in other.text("queries"))
    other.to_front().find_element(By.CSS_SELECTOR, "#queries button").click()
    one.until(lambda: not one.text("queries"))
    one.say("asked", "the red chair is in view")
    for tab in (one, other):
        tab.until(lambda tab=tab: "before" in tab.text("questions") or "not seen" in tab.text("questions"))


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read_there(page, scheme):
    tab = page()
    tab.until(lambda: "ready" in tab.text("navigator"))
    browser = tab.to_front()
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    is_dark = browser.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert is_dark == (scheme == "dark")
    for _ in range(2):  # and with what an emergency shows
        assert browser.execute_script(WIDER_THAN, phone["width"]) == []
        contrasts = browser.execute_script(CONTRASTS)
        assert len(contrasts) > 20 and {text: ratio for text, ratio in contrasts if ratio < 4.5} == {}
        stop = browser.execute_script("return document.getElementById('stop').getBoundingClientRect().toJSON()")
        assert stop["height"] >= 44 and stop["bottom"] <= phone["height"] and stop["left"] >= 0
        tab.click("stop")
        tab.until(lambda: "EMERGENCY STOP" in tab.text("alert"))


@pytest.mark.long
def test_all_of_it_can_be_reached_by_keys_and_has_a_name(page):
    tab = page()
    tab.until(lambda: "ready" in tab.text("navigator"))
    browser = tab.to_front()
    spoken = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [
        (role, node.get("name", {}).get("value", "").strip())
        for node in spoken
        if (role := node.get("role", {}).get("value")) in {"button", "textbox", "checkbox", "image"}
    ]
    assert len(named) > 8 and all(name for _, name in named), named
    reached = set()
    for _ in range(60):
        tab.key(Keys.TAB)
        reached.add(browser.execute_script("return document.activeElement.id"))
    assert {"stop", "instruction", "cancel", "watched", "asked", "explain", "hold"} <= reached


def test_an_instruction_is_typed_and_the_robot_arrives(page):
    tab = page()
    tab.until(lambda: "ready" in tab.text("navigator"))
    tab.say("watched", "the red chair is in view")
    before = tab.text("notes")
    tab.say("instruction", "go to the red chair")
    tab.until(lambda: "go to the red chair" in tab.text("notes").removesuffix(before), DRIVE_S)
    assert "reached" in tab.text("mission"), tab.text("mission")
    pictures = [tab.to_front().find_element(By.ID, name) for name in ("seen", "live")]
    tab.until(lambda: min(picture.get_property("naturalWidth") for picture in pictures) > 100)
    rows = tab.to_front().find_elements(By.CSS_SELECTOR, "#probabilities tr")
    assert len(rows) == 10
    tab.say("asked", "the red chair is in view")
    tab.until(lambda: "before" in tab.text("questions"))
    if folder := os.environ.get("PAGE_SCREENSHOTS"):
        tab.to_front().save_screenshot(f"{folder}/page.png")


@pytest.mark.long
def test_a_click_tells_what_the_decision_depends_on(page):
    """Where the last test has left the robot; it need not drive for that."""
    tab = page()
    tab.until(lambda: "ready" in tab.text("navigator"))
    tab.say("instruction", "go to the red chair")
    tab.until(lambda: tab.text("reply").startswith("“"))
    tab.click("explain")

    def is_told() -> bool:
        if "another decision" in tab.text("explanation"):  # that of an earlier test, which did not wait for it
            tab.click("explain")
            tab.click("explain")
        return "leaving out" in tab.text("explanation")

    tab.until(is_told)
    picture = tab.to_front().find_element(By.ID, "explained")
    tab.until(lambda: picture.get_property("naturalWidth") == 1280 and picture.is_displayed())
