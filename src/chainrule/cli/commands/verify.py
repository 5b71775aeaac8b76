"""``chainrule verify``: the proof on a device."""

from __future__ import annotations

import argparse

from chainrule.backends import choose_backend
from chainrule.backends.compiled import loading
from chainrule.backends.compiled.backend import CompiledBackend
from chainrule.cli.console import output
from chainrule.cli.options.types import add_device, describe_device
from chainrule.verify.checks import run_checks

EXAMPLES = ("chainrule verify", "chainrule verify --device cpu --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    backend, why = choose_backend(args.device, precision=args.precision)
    if isinstance(backend, CompiledBackend):
        loading.load()  # a long run would use them, so they are what is verified
    output.say("device", describe_device(backend, why))
    outcomes = []
    for outcome in run_checks(backend):
        outcomes.append(outcome)
        if not args.json:
            output.result(f"{outcome.status:<7} {outcome.name}: {outcome.detail}")
    failed = [o for o in outcomes if o.status != "ok"]
    if args.json:
        checks = [o._asdict() for o in outcomes]
        output.result_json({"ok": not failed, "device": backend.device, "backend": backend.name, "checks": checks})
    else:
        output.result(f"{len(outcomes) - len(failed)} ok, {len(failed)} failed")
    return 1 if failed else 0
