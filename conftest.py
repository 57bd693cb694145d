"""Makes each Markdown page a test, as docs/contribute/how-pages-are-tested.md says."""

pytest_plugins = ["pages.plugin"]
# Made by the build; what it holds is tested before.
collect_ignore = ["docs/assets"]
