"""The stages, in the order that tells most first. Limits are per item; a stage as a whole has ``SECONDS``."""

from __future__ import annotations

from collections.abc import Sequence

from gpu_check import figures, programs, tools
from gpu_check.items import Context, Item, Result
from gpu_check.pytest_runs import run_tests

SECONDS = 520.0  # of a stage, its start and its report included; a command on a borrowed card has 10 minutes
NAMES = ("alive", "tests", "figures", "tools")


def items_of(stage: str, device: str) -> list[Item]:
    return {"alive": alive, "tests": all_tests, "figures": figures.items, "tools": tools.items}[stage](device)


def alive(device: str) -> list[Item]:
    """Does it run at all, are the first numbers right, and what does the library do that no document says?"""
    cupy, train = "tests/backends/cupy", ["tests/train", "--ignore", "tests/train/feeding"]
    eager = {"CHAINRULE_GRAPHS": "0", "CHAINRULE_TUNE": "0"}
    captured, tuned = eager | {"CHAINRULE_GRAPHS": "1"}, {"CHAINRULE_GRAPHS": "1", "CHAINRULE_TUNE": "1"}
    few = ["--epochs", "3"] if device == "cpu" else []
    streams = [f"tests/train/feeding/test_streaming{part}.py" for part in ("", "_errors")]
    precisions = ["fp32", "tf32", "bf16"] if device != "cpu" else ["fp32"]
    return [
        programs.imports(device),
        run_of(
            "nan through ReLU",
            150,
            [f"{cupy}/gemm/test_cublaslt.py", f"{cupy}/test_layers.py"],
            keyword="nan and relu and not leaky",
            alone=True,
        ),
        programs.doctor(device),
        *(programs.opens(device, precision) for precision in precisions),
        programs.digits("digits without graphs", "eager", eager, few),
        programs.digits("digits with graphs", "captured", captured, few),
        programs.same_bits("graphs change no bit", "eager", "captured"),
        programs.digits("digits tuned", "tuned", tuned, few),
        programs.digits("digits tuned again", "tuned-again", tuned, few),
        programs.same_bits("tuned twice, same bits", "tuned", "tuned-again"),
        *(programs.verify(device, precision) for precision in dict.fromkeys([precisions[0], precisions[-1]])),
        run_of("tests of cublasLt", 100, [f"{cupy}/gemm"], tuned=True),
        run_of("tests of products", 90, ["tests/backends/contract/test_layers.py", f"{cupy}/test_layers.py"]),
        run_of("tests of transfers", 90, ["tests/backends/contract/test_transfers.py", *streams]),
        run_of("law of the step", 90, ["tests/test_law_of_the_step.py"]),
        run_of("tests of training", 120, train),
    ]


def all_tests(device: str) -> list[Item]:
    """Everything marked gpu, or in a rehearsal what has the same bodies on the simulated device."""
    return [run_of("all gpu tests", SECONDS, [])]


def run_of(
    name: str, seconds: float, select: Sequence[str], *, keyword: str = "", tuned: bool = False, alone: bool = False
) -> Item:
    def act(context: Context, limit: float) -> Result:
        return run_tests(context, limit, select, keyword=keyword, tuned=tuned, alone=alone)

    return Item(name, seconds, act)
