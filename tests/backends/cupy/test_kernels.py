"""The CUDA sources: Python reads in them what is written there, and they compile for three generations of cards.

NVRTC needs no card and no driver: that they compile is known before a card is at hand.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from chainrule.backends.contract.backend import BF16
from chainrule.backends.cupy import kernels
from chainrule.backends.cupy.batches import Form
from chainrule.errors import ShapeError
from emulation.compiled import CUPY_OPTIONS

ARCHITECTURES = ("sm_80", "sm_90", "sm_120")  # A100; H100 and H200; RTX 50
KERNELS = kernels.signatures()
HEADERS = sorted(path.name for path in kernels.HERE.glob("*.cuh"))


def text_of(source: str) -> str:
    """A source without its comments."""
    return re.sub(r"//[^\n]*", "", (kernels.HERE / source).read_text())


def distinct(source: str) -> list[str]:
    """The variants in which a source is a text of its own."""
    found: dict[tuple[str, ...], str] = {}
    for variant, types in kernels.VARIANTS.items():
        key = tuple(kind for macro, kind in types.items() if re.search(rf"\b{macro}\b", text_of(source)))
        found.setdefault(key, variant)
    return list(found.values())


def enumerators(name: str, source: str) -> dict[str, int]:
    """The names of a C enumeration, with their numbers."""
    match = re.search(rf"enum {name} {{([^}}]*)}}", text_of(source))
    assert match is not None
    return {word: number for number, word in enumerate(re.findall(r"\w+", match[1]))}


# ---- what Python reads ----------------------------------------------------------------------------


def test_every_kernel_is_found_and_has_a_name_of_its_own():
    declared = [name for source in kernels.sources() for name in re.findall(r"(\w+)\s*\(", text_of_kernels(source))]
    assert sorted(declared) == sorted(KERNELS)
    assert {signature.source for signature in KERNELS.values()} == set(kernels.sources())


def text_of_kernels(source: str) -> str:
    """The beginnings of the kernels of a source, found in another way than ``kernels`` finds them."""
    parts = text_of(source).split("__global__")[1:]
    return " ".join(re.sub(r"__launch_bounds__\(\w+\)|void", "", part.partition("{")[0]) for part in parts)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_parameter_has_a_type_that_a_call_can_pass(kernel):
    parameters = KERNELS[kernel].parameters
    assert len({parameter.name for parameter in parameters}) == len(parameters)
    for parameter in parameters:
        for variant in kernels.VARIANTS:
            known = parameter.dtype(variant) is not None
            assert known or (parameter.is_array and parameter.type == "void"), parameter
        assert parameter.is_array or not parameter.is_const, "a number needs no const"


@pytest.mark.parametrize("source", [*HEADERS, *kernels.sources()])
def test_a_source_is_plain_cuda(source):
    """No header, which a machine may lack, and no inline PTX, which a CPU cannot run."""
    for forbidden in (r"#\s*include", r"\basm\b", r"\b__half", r"\b__nv_"):
        assert not re.search(forbidden, text_of(source))


@pytest.mark.parametrize("variant", kernels.VARIANTS)
def test_the_options_of_a_variant_say_its_types(variant):
    said = {option for option in kernels.options(variant) if option.startswith("-D")}
    assert said == {f"-D{macro}={kind}" for macro, kind in kernels.VARIANTS[variant].items()}


def test_kinds_and_forms_have_the_same_numbers_in_both_languages():
    names = {"BFLOAT16" if kind == BF16 else str(kind).upper(): number for kind, number in kernels.KINDS.items()}
    assert enumerators("Kind", "common.cuh") == names
    assert enumerators("Form", "batches.cu") == {form.name: form.value for form in Form}


def test_every_header_is_compiled_with_a_source():
    assert {"common.cuh", *kernels.HEADERS.values()} == set(HEADERS)
    assert set(kernels.HEADERS) <= set(kernels.sources())
    assert '#line 1 "activations.cuh"\n' in kernels.source_text("layers.cu")


def test_an_error_in_a_source_is_reported_by_its_own_line():
    text = kernels.source_text("batches.cu")
    before, own = text.split('#line 1 "batches.cu"\n')
    assert before.startswith((kernels.HERE / "common.cuh").read_text())
    assert own == (kernels.HERE / "batches.cu").read_text()


def test_arguments_are_bound_by_name_and_have_the_declared_types():
    size, factor, grads = 3, np.ones(1, np.float32), np.ones(3, np.float32)
    arguments = {"size": size, "factor": factor, "grads": grads, "grads_stride": 7}
    bound = KERNELS["clip_by_global_norm"].bind("float32", arguments)
    assert [type(value) for value in bound.values] == [np.uint64, np.int64, np.uint64, np.int64]
    assert [int(value) for value in bound.values] == [grads.ctypes.data, 3, factor.ctypes.data, 7]
    assert bound.writes == ((grads.ctypes.data, grads.ctypes.data + 12),)
    assert bound.reads == ((factor.ctypes.data, factor.ctypes.data + 4),)


def test_memory_between_the_members_of_an_ensemble_is_not_touched():
    arena, factor = np.ones((3, 10), np.float32), np.ones(3, np.float32)
    grads = arena[:, 2:5]
    arguments = {"size": 3, "factor": factor, "grads": grads, "grads_stride": 10}
    bound = KERNELS["clip_by_global_norm"].bind("float32", arguments)
    starts = [grads.ctypes.data + 40 * j for j in range(3)]
    assert bound.writes == tuple((start, start + 12) for start in starts)


def test_an_array_that_is_none_is_a_null_pointer_and_touches_nothing():
    lr, state, params = np.ones(1), np.zeros(3, np.int64), np.ones(4)
    arguments: dict[str, Any] = {
        "params": params, "grads": params, "velocity": None, "lr": lr, "state": state, "size": 4, "lr_count": 1,
        "lr_factor": 1, "momentum": 0, "nesterov": False, "weight_decay": 0, "params_stride": 0, "grads_stride": 0,
        "velocity_stride": 0, "factors": None, "factors_stride": 0,
    }  # fmt: skip
    bound = KERNELS["sgd"].bind("float64", arguments)
    assert (int(bound.values[2]), len(bound.reads), len(bound.writes)) == (0, 3, 1)
    with pytest.raises(ShapeError, match="sgd: params: expected float32, got float64"):
        KERNELS["sgd"].bind("float32", arguments)
    del arguments["lr"]
    with pytest.raises(ShapeError, match=r"expected sgd\(params, .*, lr, .*\), got sgd\(params, .*\)"):
        KERNELS["sgd"].bind("float64", arguments)


# ---- compiled by NVRTC ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nvrtc() -> Any:
    pytest.importorskip("cupy", reason="CuPy is not installed; scripts/check-cuda runs these")
    from cupy.cuda import nvrtc

    try:
        nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"NVRTC does not load: {error}")
    return nvrtc


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("source", "variant"), [(s, v) for s in kernels.sources() for v in distinct(s)])
def test_a_source_compiles_and_keeps_its_registers(nvrtc, source, variant, architecture):
    """Registers that do not suffice are spilled to memory, which is no error."""
    program = nvrtc.createProgram(kernels.source_text(source), source, (), ())
    options = (f"-arch={architecture}", *kernels.options(variant), *CUPY_OPTIONS, "--ptxas-options=-v")
    try:
        nvrtc.compileProgram(program, options)
    except Exception as error:
        pytest.fail(f"{source} ({variant}) does not compile for {architecture}:\n{error}")
    try:
        log, cubin = nvrtc.getProgramLog(program), nvrtc.getCUBIN(program)
    finally:
        nvrtc.destroyProgram(program)
    assert len(cubin) > 0
    compiled = re.findall(r"Compiling entry function '(\w+)'", log)
    assert sorted(compiled) == sorted(name for name, signature in KERNELS.items() if signature.source == source)
    spilled = [int(number) for number in re.findall(r"(\d+) bytes spill stores", log)]
    assert len(spilled) >= len(compiled), f"ptxas says nothing of spills:\n{log}"
    # A division or a power in double precision is a call, around which a few registers are saved; and each version of
    # NVRTC (13.0 and 13.5 were asked) saves up to seven in some kernel, mostly for sm_120.
    assert max(spilled) <= (64 if kernels.VARIANTS[variant]["REAL"] == "double" else 28), log
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", log)]
    assert len(registers) == len(compiled)
    assert max(registers) <= 128, log  # or a multiprocessor of 65536 registers is left with one block of 512 threads
