"""What ``compare_cuda.py`` prints and draws, from what it writes into its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bars import Group, draw_bars

PEERS = ("torch", "torch-compile", "torch-graph", "jax-step", "jax-scan")
COLUMNS = {
    "chainrule": "chainrule", "chainrule-again": "again", "chainrule-eager": "eager", "torch": "torch",
    "torch-compile": "compile", "torch-graph": "graph", "jax-step": "jax jit", "jax-scan": "jax scan",
}  # fmt: skip
WIDTH = 100
MISSING = {"absent": "absent", "failed": "failed", "skipped": "skipped"}


def print_case(name: str, precision: str, result: dict[str, Any]) -> None:
    """All about a case, a line a competitor."""
    case = result["case"]
    print(f"\n{name} {precision}  {'-'.join(map(str, case['widths']))}, batch {case['batch']}, {case['steps']} steps")
    if "skipped" in result:
        print(f"  skipped: {result['skipped']}", flush=True)
        return
    for competitor, one in result["competitors"].items():
        if "median" in one:
            told = f"{one['median']:10.4g} ({one['least']:.4g} to {one['most']:.4g}) {one['unit']}"
            told += f", {len(one['rounds'])} rounds"
            told += f", epochs {one['epochs_to_goal']}" if "epochs_to_goal" in one else ""
        else:
            told = f"{'-':>10}"
        difference = one.get("loss_difference")
        told += f", losses differ by {difference:.0e}" if difference is not None else ""
        told += f", {one['variant']}" if one.get("variant") else ""
        told += f", order {one['order_us']:.3g}" if one.get("order_us") is not None else ""
        told += f", ready in {one['ready_s']:.0f} s" if "ready_s" in one else ""
        print(f"  {competitor:<16}{told}", flush=True)
    print(f"  same bits: {result.get('bits', {}).get('same')}", flush=True)


def print_summary(found: dict[str, Any]) -> None:
    """What is missing and why, what else was measured, what is wrong, and the table last."""
    print_reasons(found)
    print_extras(found)
    for fault in found["faults"]:
        print(f"FAULT: {fault}")
    print_table(found)


def print_reasons(found: dict[str, Any]) -> None:
    """Why a figure is missing, a line each."""
    print("\nmissing, and why:")
    for key, result in found["cases"].items():
        if "skipped" in result:
            print(f"{key}: {result['skipped']}"[:WIDTH])
        for competitor, one in result["competitors"].items():
            if reason := why_missing(one, found["tolerances"][result["precision"]]):
                print(f"{key} {competitor}: {reason}"[:WIDTH])
            for variant, why in one.get("variants_missing", {}).items():
                print(f"{key} {competitor} ({variant}): {why}"[:WIDTH])


def why_missing(one: dict[str, Any], tolerances: Sequence[float]) -> str:
    """Empty if there is a figure."""
    if one.get("agrees") is False:
        found = zip(
            ("20 steps", "an epoch"), (one["loss_difference"], one["epoch_difference"]), tolerances, strict=True
        )
        return "DISAGREES: losses of " + ", ".join(
            f"{what} " + ("not finite" if difference is None else f"differ by {difference:.0e} ({allowed:.0e} allowed)")
            for what, difference, allowed in found
        )
    return next((one[key] for key in MISSING if key in one), "" if "median" in one else "no round was run")


def print_extras(found: dict[str, Any]) -> None:
    """Predictions, memory, bits."""
    if "from_host_ms" in (predict := found.get("predict", {})):
        print(
            f"predict {predict['rows']} rows, {'-'.join(map(str, predict['widths']))} {predict['precision']}: "
            f"{predict['from_host_ms']:.3g} ms from the host, {predict['on_device_ms']:.3g} ms on the device"
        )
    if "grown" in (memory := found.get("memory", {})):
        print(f"memory over {memory['steps']} steps, bytes grown: {memory['grown']}")
    bits = {key: result["bits"]["same"] for key, result in found["cases"].items() if "bits" in result}
    for what in ("chainrule, second fit", "chainrule-again", "chainrule-eager"):
        told = {key: same[what] for key, same in bits.items() if what in same}
        others = [key for key, same in told.items() if not same]
        print(f"same bits, {what}: in {len(told) - len(others)} of {len(told)} cases", *others, sep=", not in ")


def print_table(found: dict[str, Any]) -> None:
    """The short one: one row per case, at most ``WIDTH`` columns."""
    smoke = "SMOKE RUN, figures mean nothing: " if found["smoke"] else ""
    print(f"\n{smoke}{found['card'].get('card', 'no card')}; us a step, e: ms to {found['goal']:.1%}; best = best peer")
    print(f"{'':<7}" + "".join(f"{head:>9}" for head in [*COLUMNS.values(), "floor"]) + f"{'ours/best':>10}")
    for key, result in sorted(found["cases"].items()):
        competitors, floor = result["competitors"], result.get("floor", {}).get("us")
        cells = [_cell(competitors.get(name, {})) for name in COLUMNS]
        cells.append(_short(floor) if floor and not key.startswith("e") else "-")
        ratio = competitors.get("chainrule", {}).get("to_best_peer")
        print(f"{key:<7}" + "".join(f"{cell:>9}" for cell in cells) + f"{f'{ratio:.2f}' if ratio else '-':>10}")


def _cell(one: dict[str, Any]) -> str:
    if "median" in one:
        return _short(one["median"]) + ("" if one.get("reached", True) else "!")
    if one.get("agrees") is False:
        return "DISAGR."
    return next((told for key, told in MISSING.items() if key in one), "-")


def _short(value: float) -> str:
    return f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def picture(found: dict[str, Any]) -> str:
    """Every competitor's time by chainrule's."""
    groups = []
    for key, result in sorted(found["cases"].items()):
        ours = result["competitors"].get("chainrule", {}).get("median")
        if ours:
            case = result["case"]
            others = {
                n: one["median"] for n, one in result["competitors"].items() if n != "chainrule" and "median" in one
            }
            bars = [(name, time / ours, name.startswith("chainrule")) for name, time in others.items()]
            groups.append(Group(f"{key}  {'-'.join(map(str, case['widths']))}, batch {case['batch']}", bars))
    card = found.get("card", {}).get("card", "no card")
    note = f"{card}. Time of a step by chainrule's in the same run: above 1, chainrule is faster. e: time to the goal."
    return draw_bars("Training on a GPU: each competitor's time by chainrule's", note, groups)
