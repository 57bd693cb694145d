"""The pages in a browser: run by `make test-browser`, after `make site`."""
