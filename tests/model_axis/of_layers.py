"""The calls of a layer: batches, products, activations, normalisation, columns, encodings, embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chainrule.backends.contract.arrays import CodeTable, EmbeddingPlan, Run
from model_axis.case import OUT, ROWS, C, Case, N, P

PLAN = EmbeddingPlan((Run(0, 2, 0),), (CodeTable(column=2, rows=4, width=3, start=4, at=2),))


def layer_cases() -> Iterator[Case]:
    yield from _batches()
    yield from _layers()
    yield from _normalization()
    yield from _columns()
    yield from _encodings()
    yield from _fused()


def _batches() -> Iterator[Case]:
    rows = {"x": (ROWS, "normal")}
    out = {"out": (ROWS, "")}
    yield Case("fill", lambda be, a, j: be.fill(0.5, out=a.out), {}, out)
    yield Case("copy", lambda be, a, j: be.copy(a.x, out=a.out), rows, out)
    yield Case("copy", lambda be, a, j: be.copy(a.x, out=a.out), rows, {"out": (ROWS, "float64")}, (), "wider")
    yield Case("copy", lambda be, a, j: be.copy(a.x, out=a.out), rows, out, ("x",), "of shared rows")
    column = {"mean": ((C,), "totals"), "scale": ((C,), "totals")}
    yield Case(
        "standardize", lambda be, a, j: be.standardize(a.x, a.mean, a.scale, limit=3.0, out=a.out),
        rows | column, out, ("mean", "scale"),
    )  # fmt: skip
    yield Case(
        "scale_and_shift", lambda be, a, j: be.scale_and_shift(a.x, a.scale, a.mean, out=a.x),
        rows | column, {}, ("mean", "scale"),
    )  # fmt: skip
    sources = {"order": ((2 * N,), "order"), "x": ((2 * N, C), "normal"), "w": ((2 * N,), "positive")}
    batch = {"rows": (ROWS, "float32"), "of_rows": ((N,), "")}
    for shared in (("x", "w"), ("x",), ()):
        yield Case(
            "gather",
            lambda be, a, j: be.gather([a.x, a.w], a.order, a.position, stride=N, out=[a.rows, a.of_rows]),
            sources, batch, shared, f"{' and '.join(shared) or 'nothing'} shared",
        )  # fmt: skip


def _layers() -> Iterator[Case]:
    factors = {"a": ((N, C), "normal"), "b": ((C, OUT), "normal")}
    out = {"out": ((N, OUT), "")}
    for shared in ((), ("a",), ("b",)):
        what = f"{shared[0]} shared" if shared else ""
        yield Case("matmul", lambda be, a, j: be.matmul(a.a, a.b, out=a.out), factors, out, shared, what)
    yield Case(
        "matmul", lambda be, a, j: be.matmul(a.x.swapaxes(-1, -2), a.dz, out=a.dW),
        {"x": ((N, C), "normal"), "dz": ((N, OUT), "normal")}, {"dW": ((C, OUT), "")}, (), "transposed",
    )  # fmt: skip
    yield Case(
        "matmul", lambda be, a, j: be.matmul(a.a, a.b, out=a.out),
        {"a": ((N, 1), "normal"), "b": ((1, OUT), "normal")}, out, (), "outer",
    )  # fmt: skip
    layer = {"x": ((N, C), "normal"), "W": ((C, OUT), "normal"), "b": ((OUT,), "normal")}
    two = {"z": ((N, OUT), ""), "y": ((N, OUT), "")}
    backward = {"saved": ((N, OUT), "share"), "dy": ((N, OUT), "normal")}
    gradients = {"dz": ((N, OUT), ""), "db": ((OUT,), "")}
    across = {"dz": ((N, OUT), "normal"), "W": ((C, OUT), "normal"), "saved": ((N, C), "share")}
    for name in ("identity", "relu", "selu", "gelu"):

        def activate(be: Any, a: Any, j: int, name: Any = name) -> None:
            be.activate(name, a.z, out=a.y)

        def in_place(be: Any, a: Any, j: int, name: Any = name) -> None:
            be.activate(name, a.z, out=a.z)

        def dense(be: Any, a: Any, j: int, name: Any = name) -> None:
            be.dense(a.x, a.W, a.b, name, z=a.z, y=a.y)

        def dense_in_one(be: Any, a: Any, j: int, name: Any = name) -> None:
            be.dense(a.x, a.W, a.b, name, z=a.y, y=a.y)

        def activation_backward(be: Any, a: Any, j: int, name: Any = name) -> None:
            be.activation_backward(name, a.saved, a.dy, dz=a.dz, db=a.db)

        def matmul_activation_backward(be: Any, a: Any, j: int, name: Any = name) -> None:
            be.matmul_activation_backward(a.dz, a.W, name, a.saved, out=a.out, db=a.db)

        yield Case("activate", activate, {"z": ((N, OUT), "normal")}, {"y": ((N, OUT), "")}, (), name)
        yield Case("activate", in_place, {"z": ((N, OUT), "normal")}, {}, (), f"{name} in place")
        yield Case("dense", dense, layer, two, (), name)
        yield Case("dense", dense_in_one, layer, {"y": ((N, OUT), "")}, ("x",), f"{name} of shared rows")
        yield Case("activation_backward", activation_backward, backward, gradients, (), name)
        below = {"out": ((N, C), ""), "db": ((C,), "")}
        yield Case("matmul_activation_backward", matmul_activation_backward, across, below, (), name)

    def across_a_border(be: Any, a: Any, j: int) -> None:
        wanted = be.signs_per_row(N, C, OUT, C, activation="relu", dtype=a.db.dtype)
        signs = a.signs if wanted else None
        be.dense(a.x, a.W, a.b, "relu", z=a.y, y=a.y, signs=signs)
        be.matmul_activation_backward(a.dz, a.V, "relu", a.y, out=a.out, db=a.db, signs=signs)

    upper = {"dz": ((N, C), "normal"), "V": ((OUT, C), "normal"), "signs": ((N, 16), "bits")}
    both = {"y": ((N, OUT), ""), "out": ((N, OUT), ""), "db": ((OUT,), "")}
    for shared in ((), ("x",)):
        what = f"of {'shared ' * bool(shared)}rows, and back with its signs"
        yield Case("dense", across_a_border, layer | upper, both, shared, what)
    yield Case(
        "activation_backward",
        lambda be, a, j: be.activation_backward("tanh", a.saved, a.dy, dz=a.dy, db=a.db),
        {"saved": ((N, 1), "share"), "dy": ((N, 1), "normal")}, {"db": ((1,), "")}, (), "of one column, in place",
    )  # fmt: skip
    terms = {"a": (ROWS, "normal"), "b": (ROWS, "normal")}
    yield Case("add", lambda be, a, j: be.add(a.a, a.b, out=a.out), terms, {"out": (ROWS, "")})


def _normalization() -> Iterator[Case]:
    rows = {"x": (ROWS, "normal"), "gain": ((C,), "normal"), "bias": ((C,), "normal")}
    by_row = {"mean": ((N,), ""), "inverse_std": ((N,), ""), "y": (ROWS, "")}
    by_column = by_row | {"mean": ((C,), ""), "inverse_std": ((C,), "")}
    running = {"running_mean": ((C,), "normal"), "running_var": ((C,), "positive")}
    for shared in ((), ("x",)):
        what = "of shared rows" if shared else ""
        yield Case(
            "layer_norm", lambda be, a, j: be.layer_norm(
                a.x, a.gain, a.bias, eps=1e-5, mean=a.mean, inverse_std=a.inverse_std, y=a.y),
            rows, by_row, shared, what,
        )  # fmt: skip
        yield Case(
            "batch_norm", lambda be, a, j: be.batch_norm(
                a.x, a.gain, a.bias, a.state, eps=1e-5, momentum=0.1, mean=a.mean, inverse_std=a.inverse_std,
                running_mean=a.running_mean, running_var=a.running_var, y=a.y),
            rows | running, by_column, shared, what,
        )  # fmt: skip
        yield Case(
            "batch_norm_inference", lambda be, a, j: be.batch_norm_inference(
                a.x, a.gain, a.bias, a.running_mean, a.running_var, eps=1e-5, y=a.y),
            rows | running, {"y": (ROWS, "")}, shared, what,
        )  # fmt: skip
    written = {"dx": (ROWS, ""), "dgain": ((C,), ""), "dbias": ((C,), "")}
    for method, length in (("layer_norm_backward", N), ("batch_norm_backward", C)):
        read = {"dy": (ROWS, "normal"), "x": (ROWS, "normal"), "gain": ((C,), "normal")}
        read |= {"mean": ((length,), "normal"), "inverse_std": ((length,), "positive")}

        def call(be: Any, a: Any, j: int, method: str = method) -> None:
            backward = getattr(be, method)
            backward(a.dy, a.x, a.gain, a.mean, a.inverse_std, dx=a.dx, dgain=a.dgain, dbias=a.dbias)

        yield Case(method, call, read, written)


def _columns() -> Iterator[Case]:
    sides = {"left": ((N, 2), "normal"), "right": ((N, 3), "normal")}
    for shared in ((), ("left",), ("right",)):
        yield Case(
            "join_columns", lambda be, a, j: be.join_columns(a.left, a.right, out=a.out), sides, {"out": (ROWS, "")},
            shared, f"{shared[0]} shared" if shared else "",
        )  # fmt: skip
    part, more = {"source": (ROWS, "normal")}, {"total": ((N, 2), "normal")}
    yield Case("take_columns", lambda be, a, j: be.take_columns(a.source, 1, out=a.out), part, {"out": ((N, 2), "")})
    yield Case("add_columns", lambda be, a, j: be.add_columns(a.source, 2, out=a.total), part | more, {})
    scaled = {"x": (ROWS, "normal"), "scale": ((C,), "normal")}
    upper = {"dy": (ROWS, "normal")}
    for shared in ((), ("x",)):
        what, out = "of shared rows" if shared else "", {"out": (ROWS, "")}
        scale = lambda be, a, j: be.scale_columns(a.x, a.scale, out=a.out)
        yield Case("scale_columns", scale, scaled, out, shared, what)
        yield Case(
            "scale_columns_backward",
            lambda be, a, j: be.scale_columns_backward(a.dy, a.x, a.scale, dx=a.dx, dscale=a.dscale),
            scaled | upper, {"dx": (ROWS, ""), "dscale": ((C,), "")}, shared, what,
        )  # fmt: skip


def _encodings() -> Iterator[Case]:
    for shared in ((), ("x",)):
        what = "of shared rows" if shared else ""
        encode = lambda be, a, j: be.piecewise_linear(a.x, a.pieces, y=a.y)
        yield Case("piecewise_linear", encode, {"x": ((N, 3), "normal")}, {"y": ((N, 7), "")}, shared, what)
    yield Case(
        "piecewise_linear_backward", lambda be, a, j: be.piecewise_linear_backward(a.dy, a.y, a.pieces, dx=a.dx),
        {"dy": ((N, 7), "normal"), "y": ((N, 7), "share")}, {"dx": ((N, 3), "")},
    )  # fmt: skip
    vectors = {"tables": ((P,), "normal"), "means": ((3,), "normal")}
    for shared in ((), ("x",)):
        yield Case(
            "embed", lambda be, a, j: be.embed(a.x, a.tables, a.means, PLAN, codes=a.codes, y=a.y),
            vectors | {"x": ((N, 3), "coded")}, {"codes": ((N, 1), "int32"), "y": ((N, 5), "")}, shared,
            "of shared rows" if shared else "",
        )  # fmt: skip
    yield Case(
        "embed_backward", lambda be, a, j: be.embed_backward(a.dy, a.codes, PLAN, touched=a.touched, dtables=a.dtables),
        {"dy": ((N, 5), "normal"), "codes": ((N, 1), "codes"), "touched": ((4,), "ones")}, {"dtables": ((P,), "")},
    )  # fmt: skip
    yield Case(
        "embed_means", lambda be, a, j: be.embed_means(a.tables, a.shares, PLAN, means=a.means),
        {"tables": ((P,), "normal"), "shares": ((4,), "share")}, {"means": ((3,), "")}, ("shares",),
    )  # fmt: skip


def _fused() -> Iterator[Case]:
    """A dense layer with the factors, or with the factors and the encoding, below it."""
    upper = {"W": ((C, OUT), "normal"), "s": ((C,), "positive"), "b": ((OUT,), "normal")}
    outputs = {"z": ((N, OUT), ""), "y": ((N, OUT), "")}
    scaled = lambda be, a, j: be.scaled_dense(a.x, a.s, a.W, a.b, "selu", z=a.z, y=a.y)
    for shared in ((), ("x",)):
        what = "of shared rows" if shared else ""
        yield Case("scaled_dense", scaled, {"x": (ROWS, "normal")} | upper, outputs, shared, what)
        few = dict.fromkeys(outputs, ((2, OUT), ""))  # fewer rows than outputs: the factors go into the rows
        yield Case("scaled_dense", scaled, {"x": ((2, C), "normal")} | upper, few, shared, f"few rows {what}")
        yield Case(
            "scaled_dense_backward",
            lambda be, a, j: be.scaled_dense_backward(a.x, a.s, a.W, a.dz, dW=a.dW, dscale=a.ds, dx=a.dx),
            {"x": (ROWS, "normal"), "dz": ((N, OUT), "normal")} | upper,
            {"dW": ((C, OUT), ""), "ds": ((C,), ""), "dx": (ROWS, "")}, shared, what,
        )  # fmt: skip

    def forward(be: Any, a: Any, j: int) -> None:
        be.encoded_dense(a.x, a.pieces, a.s, a.W, a.b, "selu", z=a.z, y=a.y, piece=a.piece, fraction=a.fraction)

    def backward(be: Any, a: Any, j: int) -> None:
        forward(be, a, j)
        places = {"piece": a.piece, "fraction": a.fraction}
        be.encoded_dense_backward(a.x, a.pieces, a.s, a.W, a.dz, **places, dW=a.dW, dscale=a.ds, dx=a.dx)

    inputs = {"x": ((N, 3), "normal"), "s": ((7,), "positive"), "W": ((7, OUT), "normal"), "b": ((OUT,), "normal")}
    outputs |= {"piece": ((N, 2), "int32"), "fraction": ((N, 2), "")}
    gradients = {"dW": ((7, OUT), ""), "ds": ((7,), ""), "dx": ((N, 3), "")}
    for shared in ((), ("x",)):
        what = "of shared rows" if shared else ""
        yield Case("encoded_dense", forward, inputs, outputs, shared, what)
        dz = {"dz": ((N, OUT), "normal")}
        yield Case("encoded_dense_backward", backward, inputs | dz, outputs | gradients, shared, what)
