"""Campaigns: what the tests try a few times, tried thousands of times. ``PYTHONPATH=tests python -m campaigns``.

A campaign is a module of this package with

- ``TITLE``, what its cases are, for the table;
- ``CASES``, how many are tried in full;
- ``run(numbers, folder)``: tries the cases of these numbers in an empty folder, and returns how many came to each
  outcome that is as it should be, and what went wrong, by number. A case is drawn from its number alone, so that a
  finding comes back with it.

``scripts/check --full`` runs them all; the test beside each runs a few.
"""
