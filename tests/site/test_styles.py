"""A page waits for one request, its stylesheet."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from mkdocs.exceptions import PluginError

from attention_docs.styles import joined

ROOT = Path(__file__).parents[2]
# As the theme has them, in short.
RULES = (
    "[data-md-color-switching] *,[data-md-color-switching] :after{transition-duration:0s!important}"
    ".md-typeset table:not([class]) td>:last-child{margin-bottom:0}"
    ".no-js .tabbed-labels>:nth-child(2){color:red}/*# sourceMappingURL=main.css.map */"
)


def test_a_page_waits_for_one_stylesheet_and_for_no_script(site: Path) -> None:
    styles = set()
    for path in site.rglob("*.html"):
        page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        (link,) = page.select('link[rel="stylesheet"]')
        styles.add(str(link["href"]).rsplit("/", 1)[-1])
        assert page.select("head script[src], head style") == [], path
        # Below all that it shows, and behind it in the order in which files are sent.
        scripts = page.select("body script[src]")
        assert {script.get("fetchpriority") for script in scripts} == {"low"}, path
        assert [one for script in scripts for one in script.find_all_next("article")] == [], path
    assert len(styles) == 1


def test_the_stylesheet_holds_all_of_ours(site: Path) -> None:
    (style,) = (path.read_text(encoding="utf-8") for path in site.glob("assets/style.*.css"))
    for name in ("assets/extra.css", "assets/web/style.css"):
        assert (ROOT / "docs" / name).read_text(encoding="utf-8").strip() in style
    assert "md-color-switching" not in style
    # After the theme's, or they would not hold.
    assert style.index(".md-header") < style.index("ink on paper") < style.index(".run-bar")


def test_styles_are_joined_in_their_order_and_three_rules_are_changed() -> None:
    assert joined([RULES, "b{}\n"]) == (
        ".md-typeset td>:last-child{margin-bottom:0}"
        ".no-js .tabbed-labels>label:nth-child(2){color:red}\nb{}\n"
    )


@pytest.mark.parametrize("rule", RULES.split("}")[:3])
def test_a_theme_without_one_of_these_rules_stops_the_build(rule: str) -> None:
    with pytest.raises(PluginError, match="the theme's styles must have a rule like this"):
        joined([RULES.replace(rule, "a{")])
