"""Makes every Markdown page that pytest meets a test; see docs/contribute/how-pages-are-tested.md."""

pytest_plugins = ["pages.plugin"]
