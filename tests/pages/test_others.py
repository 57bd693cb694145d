"""Whether the table of what other tools do is what they do."""

from pathlib import Path

import pytest

from pages.others import table

PAGE = Path(__file__).parents[2] / "docs" / "contribute" / "how-pages-are-tested.md"


@pytest.mark.slow
def test_the_table_is_what_the_tools_do(request: pytest.FixtureRequest) -> None:
    before, mark, shown = PAGE.read_text(encoding="utf-8").partition("<!-- others -->\n\n")
    assert mark, "the page marks where the table starts"
    made = table() + "\n"
    if made != shown and request.config.option.update_pages:
        PAGE.write_text(before + mark + made, encoding="utf-8", newline="\n")
    assert made == shown
