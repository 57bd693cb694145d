"""Faults planted in the package, to see what notices them: first the pages, then the tests.

`mutants` makes the standard faults of a module; `lists` reads those that change nothing, and those
that people really make; `plant` puts one into the process; `pages_jury` and `tests_jury` judge.
`python -m mutation` is all of it; `python -m mutation.by_pages` what `make test` has time for.
"""
