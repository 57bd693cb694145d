"""The theme's script, changed in three places, is what every page loads."""

from hashlib import sha256
from pathlib import Path

import pytest
from mkdocs.exceptions import PluginError

from attention_docs.theme_script import changed

# As the theme has them, in short.
HEAD = 'for(let r of M(":scope > *",e.head))t.set(r.outerHTML,r);'
ADDRESS = r"let o=t.getAttribute(r);if(o&&!/^(?:[a-z]+:)?\/\//i.test(o)){t[r]=t[r];break}"
NAMES = 'e.pipe(b(()=>M(".md-ellipsis")),J(r=>mt(r)))'
SCRIPT = f"{HEAD}{ADDRESS}{NAMES}\n//# sourceMappingURL=bundle.js.map\n"


def test_a_stylesheet_keeps_its_address_and_only_names_of_the_header_are_watched() -> None:
    assert changed(SCRIPT) == (
        'for(let r of M(":scope > *",e.head))'
        't.set(r.sheet?.href??(r.rel==="stylesheet"?r.href:r.outerHTML),r);'
        r"let o=t.getAttribute(r);if(o&&!t.sheet&&!/^(?:[a-z]+:)?\/\//i.test(o)){t[r]=t[r];break}"
        'e.pipe(b(()=>M(".md-header .md-ellipsis")),J(r=>mt(r)))'
        "\n"
    )


@pytest.mark.parametrize("place", [HEAD, ADDRESS, NAMES])
@pytest.mark.parametrize("times", [0, 2])
def test_a_theme_with_another_script_stops_the_build(place: str, times: int) -> None:
    with pytest.raises(PluginError, match="the theme's script must have one place like this"):
        changed(SCRIPT.replace(place, place * times))


def test_every_page_loads_the_changed_script(site: Path) -> None:
    (script,) = site.glob("assets/javascripts/bundle.*")
    assert script.name == f"bundle.{sha256(script.read_bytes()).hexdigest()[:8]}.min.js"
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for path in pages:
        html = path.read_text(encoding="utf-8")
        assert html.count("assets/javascripts/bundle.") == 1, path
        assert f'assets/javascripts/{script.name}"' in html, path
