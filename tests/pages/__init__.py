"""The engine that runs the documentation pages as tests.

`parse` reads a page into blocks and refuses what it cannot test; `state` holds everything that one
program of a page may change; `run` executes blocks in it; `update` writes outputs and figures back;
`plugin` is the pytest side; `rendered` compares the built site with the parsed pages.
"""
