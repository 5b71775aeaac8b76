"""Counts the outcomes of a campaign's cases."""

from __future__ import annotations


class Tally:
    """Counts of the known right outcomes, and every other outcome by the number of its case."""

    def __init__(self, *good: str) -> None:
        self.counts, self.findings = dict.fromkeys(good, 0), dict[int, str]()

    def add(self, number: int, outcome: str, about: str = "") -> None:
        """Count the outcome of a case; ``about`` describes the case in a finding."""
        if outcome in self.counts:
            self.counts[outcome] += 1
        else:
            self.findings[number] = f"{about}: {outcome}" if about else outcome

    def result(self) -> tuple[dict[str, int], dict[int, str]]:
        """As ``run`` of a campaign returns it."""
        return self.counts, self.findings
