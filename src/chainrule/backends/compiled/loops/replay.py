"""The loop that replays a step: every launch by its address, with no Python in between."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from chainrule.backends.compiled.jit import intrinsic, loop

SIZES = (8, 16, 24, 32, 48, 64, 96, 128)  # words that a function is called with; more than it takes do no harm


def size_for(words: int) -> int:
    """The least of these sizes that has room for so many words."""
    return next(size for size in SIZES if size >= words)


@intrinsic
def call(typing_context: Any, address: Any, words: Any, size: Any) -> Any:
    """Call the function at ``address`` with so many of the integers at ``words``."""
    signature = types.void(types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        address, words, size = arguments
        first = builder.inttoptr(words, word.as_pointer())
        end = builder.append_basic_block("end")
        choice = builder.switch(size, end)
        for count in SIZES:
            block = builder.append_basic_block(f"call_with_{count}")
            choice.add_case(ir.Constant(word, count), block)
            with builder.goto_block(block):
                values = [builder.load(builder.gep(first, [ir.Constant(word, i)])) for i in range(count)]
                kind = ir.FunctionType(ir.IntType(32), [word] * count)
                builder.call(builder.inttoptr(address, kind.as_pointer()), values)
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, generate


@loop(writes="")
def replay(launches: Any, times: int) -> None:
    """``launches`` (m, 3): the address of a function, that of its words, and how many there are."""
    for _ in range(times):
        for i in range(len(launches)):
            call(launches[i, 0], launches[i, 1], launches[i, 2])
