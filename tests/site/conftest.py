"""`site`: the built site, from `make site` or, if something has changed since, built afresh."""

from pages.test_rendered import site

__all__ = ["site"]
