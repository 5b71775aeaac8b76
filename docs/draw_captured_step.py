"""Draws captured-step.svg: the launches of one training step, side by side if their memory allows.

``python docs/draw_captured_step.py``: records a real step of a net of two hidden layers on the emulated device of the
tests (a C++ compiler is enough, no GPU), and asks `capture/dependencies.py` what waits for what.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "src")]

import numpy as np  # noqa: E402

import chainrule as cr  # noqa: E402
from chainrule.backends.capture.dependencies import dependencies  # noqa: E402
from chainrule.backends.contract.losses import LossBatch  # noqa: E402
from chainrule.backends.cupy.capture.launches import Launch  # noqa: E402
from chainrule.nn.passes import new_state  # noqa: E402
from chainrule.train.feeding.batches import first_position  # noqa: E402
from emulation.backend import EmulatedBackend  # noqa: E402

WIDTH, HEIGHT, GAP_X, GAP_Y = 150, 34, 34, 22
STYLE = "font:13px system-ui,sans-serif;fill:#1d2733;text-anchor:middle;dominant-baseline:central"


def recorded_step() -> list[tuple[str, Launch]]:
    """The launches of a step of 784-512-512-10, each with a name that a reader knows."""
    be = EmulatedBackend()
    net = cr.MLP([20, 12, 12, 10], backend=be)
    rng = np.random.default_rng(0)
    rows = net.upload_rows(rng.normal(size=(64, 20)), rng.integers(0, 10, 64))
    batch, state = net.bind(16, training=True), new_state(be)
    buffer = [be.empty((16, *a.shape[1:]), a.dtype) for a in rows.arrays]
    position, order = first_position(be), be.upload(np.arange(64))
    lr, totals = be.upload(np.full(4, 1e-3)), be.empty((4, 3), np.float64)
    optimizer = cr.Adam(weight_decay=1e-2).bind(net.parameter_arena, net.gradient_arena)
    names: list[str] = []

    def step() -> None:
        def note(name: str, *others: str) -> None:
            if be.is_recording:  # the record says how many launches the call before made
                names.extend([name] * (len(be._local.record) - len(names) - len(others)))
                names.extend(others)

        x = buffer[0]
        for layer in batch.layers:
            x = layer.forward(x)
            note(f"y{layer.name[5:]} = act(x W + b)")
        net.loss(be, LossBatch(x, buffer[1], None, state, totals, batch.dlogits))
        note("loss, dz2")
        be.count_correct(x, buffer[1], None, state, totals=totals)
        note("count correct")
        batch.layers[-1].activation_gradient()
        note("db2")
        for above, below in zip(batch.layers[:0:-1], batch.layers[-2::-1], strict=True):
            above.weight_gradient()
            note(f"dW{above.name[5:]} = x.T dz")
            be.matmul(above.dz, above.W.swapaxes(-1, -2), out=below.dz)
            note(f"dx = dz W{above.name[5:]}.T")
            be.activation_backward(below.activation, below.saved, below.dz, dz=below.dz, db=below.db)
            note(f"dz{below.name[5:]}, db{below.name[5:]}")
        batch.layers[0].weight_gradient()
        note("dW0 = x.T dz")
        optimizer.step(lr, state)
        note("Adam")
        be.tick(state)
        note("tick")
        # What the step begins with, here of the next one: it does not wait for the optimiser of this one.
        be.gather(rows.arrays, order, position, stride=16, out=buffer)
        note("gather next batch")

    with be.running():
        step()  # allocates scratch memory
        launches = be.record(step)
    return list(zip(names, launches, strict=True))


def longest_chain(waits: list[tuple[int, ...]]) -> set[int]:
    """The launches on one longest path: what no number of multiprocessors can shorten."""
    depth = depths(waits)
    chain = [max(range(len(waits)), key=depth.__getitem__)]
    while waits[chain[-1]]:
        chain.append(max(waits[chain[-1]], key=depth.__getitem__))
    return set(chain)


def depths(waits: list[tuple[int, ...]]) -> list[int]:
    """Of each launch, how many levels come before it."""
    found: list[int] = []
    for mine in waits:
        found.append(1 + max((found[n] for n in mine), default=-1))
    return found


def main() -> None:
    step = recorded_step()
    waits = dependencies([launch for _, launch in step])
    depth, chain = depths(waits), longest_chain(waits)
    side = {"dW": 0, "db": 2, "Ad": 2, "co": 3, "ga": 3}  # columns, by how a name begins; the chain has column 1
    column = [1 if n in chain else side[name[:2]] for n, (name, _) in enumerate(step)]
    rail = 60  # room on either side for the lines to launches further down
    size = (2 * rail + 4 * WIDTH + 3 * GAP_X, (max(depth) + 1) * (HEIGHT + GAP_Y) + GAP_Y)

    def corner(n: int) -> tuple[float, float]:
        return rail + column[n] * (WIDTH + GAP_X), GAP_Y + depth[n] * (HEIGHT + GAP_Y)

    def line(start: int, stop: int, number: int) -> str:
        (x, y), (to_x, to_y) = corner(start), corner(stop)
        if depth[stop] == depth[start] + 1 or start in chain:
            middle = y + HEIGHT + GAP_Y / 2
            return f"M{x + WIDTH / 2} {y + HEIGHT} V{middle} H{to_x + WIDTH / 2} V{to_y}"
        way = -1 if column[start] == 0 else 1
        edge, far = (x, 8 + 9 * number) if way < 0 else (x + WIDTH, size[0] - 8 - 9 * number)
        entry = to_x + WIDTH / 2 + way * (WIDTH / 2 - 10)
        return f"M{edge} {y + HEIGHT / 2} H{far} V{to_y - GAP_Y / 2} H{entry} V{to_y}"

    width, height = size
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' role="img" aria-label="the launches of a captured step and what each waits for">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, mine in enumerate(waits):
        for other in mine:
            lines.append(
                f'<path d="{line(other, number, other % 6)}" fill="none" stroke="#8aa0b5" stroke-width="1.5"/>'
            )
    for number, (name, launch) in enumerate(step):
        x, y = corner(number)
        fill = "#dcebfa" if launch.key[0] == "product" else "#eef1f4"
        lines.append(f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{fill}" stroke="#8aa0b5"/>')
        lines.append(f'<text x="{x + WIDTH / 2}" y="{y + HEIGHT / 2}" style="{STYLE}">{name}</text>')
    lines.append("</svg>")
    (HERE / "captured-step.svg").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(step)} launches, {max(depth) + 1} deep")


if __name__ == "__main__":
    main()
