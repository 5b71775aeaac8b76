"""Campaigns: what the tests try on a few cases, tried on thousands. ``PYTHONPATH=tests python -m campaigns``.

A campaign is a module of this package with

- ``TITLE``, what its cases are, for the table of results;
- ``CASES``, how many there are in a full run;
- ``run(numbers, folder)``: runs the cases of these numbers in an empty folder, and returns the count of each right
  outcome, and what went wrong, by number. A case depends on its number alone, so that a finding can be reproduced.

``scripts/check --full`` runs them all; the test file of each runs a few.
"""
