"""Makes each Markdown page a test, as docs/contribute/how-pages-are-tested.md says."""

pytest_plugins = ["pages.plugin"]
# What the build makes is tested before; and it runs the notebooks, which must not run here.
collect_ignore = ["docs/assets", "docs/notebooks"]
