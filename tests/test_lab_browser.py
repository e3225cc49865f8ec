"""The augmentation lab in a real browser: pictures follow the drag, what was set is saved and found again."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect
from test_browser import (  # noqa: F401  fixtures among them
    WAIT_MS,
    address,
    browser_page,
    foreign,
    launch_one_epoch,
    open_page,
)

from medwb import list_runs, open_dataset
from medwb.augment import open_augmentation
from medwb.augment.receipt import open_receipt
from medwb.runs import ACTIVE_STATES

pytestmark = pytest.mark.slow

PICTURES = """() => {
  const host = document.querySelector('[data-testid=stBidiComponentIsolated]');
  let sum = 0;
  for (const canvas of host.shadowRoot.querySelectorAll('canvas')) {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    for (let n = 0; n < data.length; n += 4) sum = (sum * 31 + data[n]) | 0;
  }
  return sum;
}"""


def handle(page: Page) -> Locator:
    """The upper end of the rotation."""
    return page.get_by_role("slider", name="Degrees, highest")


def place(page: Page, value: float) -> tuple[float, float]:
    """Where a value lies on the track; a handle is 18 pixels wide."""
    box = handle(page).bounding_box()
    assert box
    return box["x"] + 9 + (box["width"] - 18) * (value + 180) / 360, box["y"] + box["height"] / 2


def test_pictures_follow_the_drag_and_the_recipe_is_kept(address: str, browser_page: Page) -> None:  # noqa: F811
    page = browser_page
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if foreign(request.url, address) else None)
    page.goto(f"{address}/augment")
    expect(handle(page)).to_have_js_property("value", "90")
    page.wait_for_timeout(1000)

    seen = {page.evaluate(PICTURES)}
    page.mouse.move(*place(page, 90))
    page.mouse.down()
    for value in range(88, 20, -4):
        page.mouse.move(*place(page, value))
        page.wait_for_timeout(120)
        seen.add(page.evaluate(PICTURES))
    assert len(seen) >= 5, "the pictures stood still while the handle moved"
    expect(handle(page)).to_have_attribute("aria-valuetext", "24°")
    unsettled = page.url
    page.mouse.up()
    page.wait_for_url(lambda url: url != unsettled)  # the address follows when the handle is let go
    expect(page.get_by_text("-90° to 24°, p 1")).to_be_visible()

    page.get_by_role("button", name="Save").click()
    page.get_by_label("Name", exact=True).fill("mine")
    page.get_by_label("Name", exact=True).press("Enter")
    page.get_by_role("button", name="Save", exact=True).last.click()
    page.get_by_text("Saved as mine").wait_for()

    settled = page.evaluate(PICTURES)
    page.reload()
    expect(handle(page)).to_have_js_property("value", "24")
    expect(page.get_by_role("combobox", name="Recipe")).to_have_attribute("placeholder", "mine")
    page.wait_for_timeout(1000)
    assert page.evaluate(PICTURES) == settled

    open_page(page, "Explore")
    open_page(page, "Augment")
    expect(handle(page)).to_have_js_property("value", "24")
    page.get_by_role("button", name="Train with it").click()
    page.get_by_role("heading", name="Train", exact=True).wait_for()
    page.get_by_text("Changed: augmentation=mine").wait_for()
    launch_one_epoch(page)
    page.get_by_text(re.compile("Receipt|What augmentation did")).first.wait_for(timeout=2 * WAIT_MS)
    (run,) = list_runs()
    for _ in range(2 * WAIT_MS // 200):
        if run.state not in ACTIVE_STATES:
            break
        page.wait_for_timeout(200)
    assert run.state == "finished"
    receipt = open_receipt(run)
    assert receipt
    assert receipt.digest == open_augmentation("mine").digest
    turned = receipt.steps[0]
    assert (turned.step.transform, turned.step.settings["degrees"]) == ("rotate", (-90, 24))
    assert turned.applied == receipt.scans == len(open_dataset("scans").split("train"))
    assert not outside, outside


def test_the_slider_is_moved_with_the_keyboard_and_going_back_undoes(address: str, browser_page: Page) -> None:  # noqa: F811
    page = browser_page
    page.goto(f"{address}/augment")
    expect(handle(page)).to_have_js_property("value", "90")
    page.wait_for_timeout(1000)
    before = page.evaluate(PICTURES)
    handle(page).focus()
    page.keyboard.press("ArrowLeft")
    expect(handle(page)).to_have_attribute("aria-valuetext", "89.5°")
    expect(page.get_by_text("-90° to 89.5°, p 1")).to_be_visible()
    assert page.evaluate(PICTURES) != before
    page.get_by_role("button", name="Back to its defaults").or_(page.get_by_text("restart_alt")).first.click()
    expect(handle(page)).to_have_js_property("value", "10")
    page.go_back()
    expect(handle(page)).to_have_js_property("value", "89.5")


def test_ordinary_sliders_stand_in(address: str, browser_page: Page) -> None:  # noqa: F811
    page = browser_page
    page.goto(f"{address}/augment?plain=true")
    knob = page.get_by_test_id("stSlider").first.get_by_role("slider").last
    expect(knob).to_have_js_property("value", "90")
    picture = page.get_by_test_id("stImage").locator("img").first
    before = picture.get_attribute("src")
    knob.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("-90° to 89.5°, p 1")).to_be_visible(timeout=WAIT_MS)
    expect(picture).not_to_have_attribute("src", before or "")
    expect(page.get_by_test_id("stException")).to_have_count(0)
