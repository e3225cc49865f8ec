"""Dragging a threshold on the page of errors, in a real browser against a real server."""

import re

import pytest
from conftest import finish_run
from playwright.sync_api import Page, expect
from test_browser import address, browser_page, settled  # noqa: F401  # fixtures

from medwb.dataset import open_dataset

pytestmark = pytest.mark.slow


def counts(page: Page) -> list[str]:
    return page.locator(".err .count").all_inner_texts()


def names(page: Page) -> list[str]:
    return page.locator(".err .group").first.locator("button").evaluate_all("all => all.map((one) => one.title)")


def test_a_dragged_threshold_is_followed_and_kept_in_the_address(address: str, browser_page: Page) -> None:  # noqa: F811
    page = browser_page
    finish_run(open_dataset("scans"), 0.6)
    page.goto(f"{address}/errors?errors-label=mass&threshold=0.2")
    slider = page.get_by_role("slider", name="Threshold, dragged")
    slider.wait_for()
    settled(page)
    expect(slider).to_have_value("0.2")
    before, first = counts(page), names(page)
    assert len(before) == 4

    box = slider.bounding_box()
    assert box is not None
    height = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 9 + 0.2 * (box["width"] - 18), height)
    page.mouse.down()
    for step in range(1, 13):
        page.mouse.move(box["x"] + 9 + (0.2 + 0.05 * step) * (box["width"] - 18), height)
        page.wait_for_timeout(40)
    expect(page.locator(".err .count").first).not_to_have_text(before[0])  # while the handle is still held
    page.mouse.up()
    settled(page)
    expect(page).to_have_url(re.compile(r"threshold=0\.[78]\d*"))
    page.wait_for_timeout(1000)
    after, then = counts(page), names(page)
    assert int(after[0]) < int(before[0])  # fewer false positives, more false negatives
    assert int(after[1]) > int(before[1])
    assert then != first
    assert page.get_by_role("spinbutton", name="Threshold").input_value() == slider.input_value().ljust(6, "0")

    page.reload()
    slider.wait_for()
    settled(page)
    page.wait_for_timeout(1000)
    assert counts(page) == after
    assert names(page) == then

    page.locator(".err .group").first.locator("button").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page).to_have_url(re.compile(r"scan=\d+\.png"))
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).not_to_have_url(re.compile("scan="))
    assert counts(page) == after
