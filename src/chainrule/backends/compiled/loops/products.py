"""Matrix products: the routines of NumPy's BLAS by address, and outer products, for which BLAS is slow."""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types

from chainrule.backends.compiled.jit import intrinsic, loop

_WORD: Final = ir.IntType(64)
_REALS: Final = {"s": ir.FloatType(), "d": ir.DoubleType()}

# The arguments of a routine: e an enumeration, i an integer of BLAS, p an address, 1 and 0 the numbers alpha and beta.
_GEMM, _GEMV, _DOT = "eeeiii1pipi0pi", "eeii1pipi0pi", "ipipi"


def _routine(form: str, real: Any, width: int, *, has_result: bool = False) -> Any:
    """``product(address, words)``: call the routine at ``address`` with the integers at ``words``.

    Those are its arguments but for alpha and beta; of a routine that has a result, then the address where it goes.
    """
    kinds = {"e": ir.IntType(32), "i": ir.IntType(width), "p": _WORD, "1": real, "0": real}
    variant = f"{form} {real} {width}"

    @intrinsic
    def call(typing_context: Any, address: Any, words: Any) -> Any:
        def generate(context: Any, builder: Any, _: Any, given: Any) -> Any:
            address, words = given
            first = builder.inttoptr(words, _WORD.as_pointer())

            def word(number: int) -> Any:
                return builder.load(builder.gep(first, [ir.Constant(_WORD, number)]))

            values, number = [], 0
            for letter in form:
                kind = kinds[letter]
                if kind is real:
                    values.append(ir.Constant(real, float(letter)))
                else:
                    values.append(word(number) if kind.width == 64 else builder.trunc(word(number), kind))
                    number += 1
            signature = ir.FunctionType(real if has_result else ir.VoidType(), [kinds[letter] for letter in form])
            found = builder.call(builder.inttoptr(address, signature.as_pointer()), values)
            if has_result:
                builder.store(found, builder.inttoptr(word(number), real.as_pointer()))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    @loop(writes="", variant=variant)
    def product(address: int, words: int) -> None:
        call(address, words)

    return product


# {(name of a routine, width of BLAS's integers): the loop that calls it}
ROUTINES: Final = {
    (letter + name, width): _routine(form, real, width, has_result=name == "dot")
    for letter, real in _REALS.items()
    for name, form in (("gemm", _GEMM), ("gemv", _GEMV), ("dot", _DOT))
    for width in (32, 64)
}


@loop(writes="out", rows="a out")
def outer(a: Any, b: Any, out: Any) -> None:
    """a (m, 1), b (1, n)."""
    m, n = out.shape
    for i in range(m):
        factor = a[i, 0]
        for j in range(n):
            out[i, j] = factor * b[0, j]
