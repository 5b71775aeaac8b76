"""What the cases of a campaign came to."""

from __future__ import annotations


class Tally:
    """Counts of the outcomes that are as they should be, which are known, and all else by the number of the case."""

    def __init__(self, *good: str) -> None:
        self.counts, self.findings = dict.fromkeys(good, 0), dict[int, str]()

    def add(self, number: int, said: str, about: str = "") -> None:
        """What a case came to; ``about`` says which it was, before what went wrong."""
        if said in self.counts:
            self.counts[said] += 1
        else:
            self.findings[number] = f"{about}: {said}" if about else said

    def result(self) -> tuple[dict[str, int], dict[int, str]]:
        """As ``run`` of a campaign returns it."""
        return self.counts, self.findings
