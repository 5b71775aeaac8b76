"""What threads that replay a step together wait by: a counter that goes up only.

Why all see after a barrier what each has written before it: an arrival is an atomic addition, a *release* of what its
thread has done before. Additions to one place have one order, and each goes on with the releases of those before it. So
whoever sees the goal in an *acquire* load sees what was done before every arrival that it counts. Who is ahead may have
arrived at the next barrier by then, which does no harm: a goal that is passed is reached. No arrival is lost, and 2**63
of them take longer than a machine lasts.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from chainrule.backends.compiled.jit import intrinsic, loop

SPINS = 2_000  # looks at the counter, a microsecond or two: a thread that is at work arrives by then
YIELDS = 20  # then times that the core is offered to others, who may be the thread that is waited for
PAUSE = 50  # microseconds of sleep after that: a core that idles is given the thread that waits for one


@intrinsic
def atomic_add(typing_context: Any, address: Any, number: Any) -> Any:
    """*address += number, and all that was written before is seen by whoever sees it."""

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        place = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, values[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def atomic_load(typing_context: Any, address: Any) -> Any:
    """*address; what was written before it was, is seen from now on."""

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(values[0], ir.IntType(64).as_pointer()), "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def call_with(typing_context: Any, address: Any, number: Any) -> Any:
    """Call a function of C with one integer, if there is one."""

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32)])
        function = builder.inttoptr(values[0], kind.as_pointer())
        builder.call(function, [builder.trunc(values[1], ir.IntType(32))])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@loop(writes="own")
def wait_for_all(counter: int, own: Any, threads: int, give_way: int, sleep: int) -> None:
    """A barrier: return once every thread has arrived here as often as this one.

    counter : address of an int64 that all share; each arrival adds 1, so that it is never set back
    own : (1,) what the counter shows once all have arrived, of this thread
    give_way, sleep : addresses of functions that offer the core to others, and that sleep for some microseconds
    """
    own[0] += threads
    goal = own[0]
    atomic_add(counter, 1)
    looks = 0
    while atomic_load(counter) < goal:
        looks += 1
        if looks > SPINS + YIELDS:
            call_with(sleep, PAUSE)
        elif looks > SPINS:
            call_with(give_way, 0)
