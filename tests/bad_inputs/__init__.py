"""Inputs that are wrong, as data: how each is made, the command that meets it, what is shown and the exit code.

`cases` carries one out; every other module holds the cases of one kind of input. `tests/test_bad_inputs.py` holds HedgeBench to them, and `python -m bad_inputs`,
run in `tests/`, makes the table of docs/bad-input.md from them. `python -m bad_inputs.guards` takes the guard of each out and sees whether its case fails.
"""
