"""``python -m campaigns [NAME [COUNT [FIRST]]]``: all campaigns in full, or one; exit code 1 if a case goes wrong."""

from __future__ import annotations

import argparse
import sys

from campaigns.running import HEADER, run_campaign

NAMES = [
    "gradients", "agreement", "invariances", "same_bits", "model_files", "checkpoint_files", "shown_files",
    "array_files", "arrays", "permutations", "text_files", "kills", "failing_calls", "full_disk", "signals",
    "one_owner", "concurrent_starts", "allocations", "divergences", "threads", "shared_device", "divided_fits",
    "interrupted_steps", "environments", "gpu_stages", "soak",
]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m campaigns", description="Try what the tests try, thousands of times."
    )
    parser.add_argument("name", nargs="?", choices=NAMES, help="one campaign (default: all)")
    parser.add_argument("count", nargs="?", type=int, help="how many cases (default: as many as the campaign says)")
    parser.add_argument("first", nargs="?", type=int, default=0, help="the number of the first (default: 0)")
    args = parser.parse_args()
    print(HEADER, flush=True)
    passed = [run_campaign(name, args.count, args.first) for name in ([args.name] if args.name else NAMES)]
    return not all(passed)


if __name__ == "__main__":
    sys.exit(main())
