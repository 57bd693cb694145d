"""What the copy buttons put on the clipboard: tests/pages/test_runnable.py runs it."""

from playwright.sync_api import Page

from browser.reader import DOCS, Visit, bar, button, plan, press, status, wait_until


def clipboard(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_copying_gives_the_program_or_the_block(visit: Visit) -> None:
    source = DOCS / "learn" / "softmax.md"
    page = visit("learn/softmax/")
    for number, block in enumerate(plan(source)["blocks"]):
        page.evaluate("navigator.clipboard.writeText('')")
        whole = block["copy"]
        press(page, number, "Copy program" if whole else "Copy")
        wait_until(page, "navigator.clipboard.readText()")
        assert clipboard(page) == (whole or f"{block['code']}\n")
        said = "the whole program" if whole else "a complete program"
        assert said in status(page, number)
        if whole:
            press(page, number, "Copy block")
            wait_until(page, f"navigator.clipboard.readText().then(t => t !== {whole!r})")
            assert clipboard(page) == f"{block['code']}\n"
            assert "this block alone" in status(page, number)


def test_a_block_that_cannot_run_here_can_be_copied_and_taken_elsewhere(
    visit: Visit, home: str
) -> None:
    page = visit("learn/softmax/")
    (number, *_) = [
        number
        for number, block in enumerate(plan(DOCS / "learn" / "softmax.md")["blocks"])
        if block["needs"] == ["torch"]
    ]
    assert status(page, number) == "Needs PyTorch, which runs in no browser."
    assert button(page, number, "Run").count() == 0
    assert button(page, number, "Copy").count() == 1
    colab = "https://colab.research.google.com/github/attention-executed/attention-executed/blob"
    links = bar(page, number).locator("a")
    assert links.evaluate_all("all => all.map(one => [one.textContent, one.href])") == [
        ["Notebook", f"{home}assets/run/learn/softmax.ipynb"],
        ["Colab ↗", f"{colab}/notebooks/assets/run/learn/softmax.ipynb"],
    ]
    elsewhere = links.nth(1)
    assert elsewhere.get_attribute("rel") == "noopener"
    assert elsewhere.get_attribute("title") == "open the notebook in Google Colab"
    with page.expect_download() as download:
        links.nth(0).evaluate("link => link.click()")  # its tab is closed
    assert download.value.suggested_filename == "softmax.ipynb"
