"""The licences of what the site serves: all there, or the build stops."""

from pathlib import Path

import pytest

from attention_docs import licences


def test_the_licences_name_all_that_is_served(tmp_path: Path) -> None:
    licences.main(tmp_path / "licences.txt")
    text = (tmp_path / "licences.txt").read_text(encoding="utf-8")
    assert "Mozilla Public License Version 2.0" in text
    assert "PYTHON SOFTWARE FOUNDATION LICENSE" in text
    assert "NumPy Developers" in text
    for name in ("mkdocs-material", "jaxtyping", "wadler-lindig", "pygments"):
        assert licences.installed(name) in text
    for name in ("@codemirror/state", "@lezer/python"):
        assert licences.node_module(name).strip() in text


def test_a_package_without_a_licence_stops_the_build() -> None:
    with pytest.raises(SystemExit, match="array-api-compat must carry its licence, got none"):
        licences.installed("array-api-compat")
    with pytest.raises(SystemExit, match="no-such-package must be installed, as it is served"):
        licences.installed("no-such-package")
