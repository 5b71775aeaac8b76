"""The calls of a training step behind its layers: losses, predictions, optimisers, dropout, functions of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.random import MEMBER_SHIFT
from model_axis.case import OUT, PARAMS, ROWS, TOTALS, Case, N


def training_cases() -> Iterator[Case]:
    yield from _losses()
    yield from _predictions()
    yield from _optimisers()
    yield from _random_and_custom()


def _losses() -> Iterator[Case]:
    classes = {"t": ((N,), "labels"), "z": ((N, OUT), "normal")}
    plain: dict[str, Any] = {"scale": 1.5, "mean": True}
    losses: list[tuple[str, str, dict[str, Any], tuple[int, ...]]] = [
        ("softmax_cross_entropy", "", {}, ()),
        ("softmax_cross_entropy", "", {"label_smoothing": 0.1}, ()),
        ("focal_loss", "", {"gamma": 2.0}, ()),
        ("quantile_loss", "", {"levels": (0.1, 0.9)}, (N, 2)),
        ("gaussian_nll", "", {}, (N, 2)),
        ("custom_loss", "", {}, (N, OUT)),
    ]
    kinds = ("sigmoid_cross_entropy", "squared_error", "absolute_error", "huber", "poisson", "gamma")
    losses += [("elementwise_loss", kind, {"parameter": 0.5}, (N, OUT)) for kind in kinds]
    for method, kind, options, shape in losses:
        given = (kind,) if kind else ()
        if method == "custom_loss":
            given = (lambda xp, z, t: ((z - t) ** 4).sum(axis=-1), lambda xp, z, t: 4 * (z - t) ** 3)

        def loss(be: Any, a: Any, j: int, method: str = method, given: Any = given, options: Any = options) -> None:
            weights, dz = getattr(a, "w", None), getattr(a, "dz", a.z)
            getattr(be, method)(LossBatch(a.z, a.t, weights, a.state, a.totals, dz), *given, **options, **plain)

        read = classes | ({"t": (shape, "share")} if shape else {})
        weighted = read | {"w": ((N,), "positive")}
        out: dict[str, tuple[tuple[int, ...], str]] = {"totals": (TOTALS, "float64")}
        name = f"{kind} smoothed".strip() if "label_smoothing" in options else kind
        yield Case(method, loss, weighted, out | {"dz": ((N, OUT), "")}, (), f"{name} weighted".strip())
        yield Case(
            method, loss, weighted, out | {"dz": ((N, OUT), "")}, ("t", "w"), f"{name} of shared targets".strip()
        )
        yield Case(method, loss, read, out, (), f"{name} in place".strip())
    for shared in ((), ("t", "w")):
        yield Case(
            "count_correct", lambda be, a, j: be.count_correct(a.z, a.t, a.w, a.state, totals=a.totals),
            classes | {"w": ((N,), "positive")}, {"totals": (TOTALS, "float64")}, shared,
            "of shared targets" if shared else "",
        )  # fmt: skip


def _predictions() -> Iterator[Case]:
    logits = {"z": ((N, OUT), "normal")}
    same, numbers = {"out": ((N, OUT), "")}, {"out": ((N, OUT), "int32")}
    for method, options in (("softmax", {}), ("exp", {}), ("quantiles", {"count": 2}), ("mean_and_variance", {})):

        def predict(be: Any, a: Any, j: int, method: str = method, options: Any = options) -> None:
            getattr(be, method)(a.z, **options, out=getattr(a, "out", a.z))

        yield Case(method, predict, logits, same)
        yield Case(method, predict, logits, {}, (), "in place")
    yield Case("argmax", lambda be, a, j: be.argmax(a.z, out=a.out), logits, {"out": ((N,), "int32")})
    yield Case("positive", lambda be, a, j: be.positive(a.z, out=a.out), logits, numbers)


def _optimisers() -> Iterator[Case]:
    params = {"params": (PARAMS, "normal"), "grads": (PARAMS, "normal")}
    plain = {"lr_factor": 0.5, "weight_decay": 0.1}

    def sgd(be: Any, a: Any, j: int) -> None:
        velocity = getattr(a, "v", None)
        more = {name: getattr(a, name) for name in ("touched", "factors") if hasattr(a, name)}
        momentum = 0.0 if velocity is None else 0.9
        be.sgd(
            a.params,
            a.grads,
            velocity,
            a.lr,
            a.state,
            momentum=momentum,
            nesterov=velocity is not None,
            **plain,
            **more,
        )

    moments = {"m": (PARAMS, "normal"), "v": (PARAMS, "positive")}
    yield Case("sgd", sgd, params, {})
    yield Case("sgd", sgd, params | {"v": (PARAMS, "normal")}, {}, (), "with momentum")
    factors = {"factors": (PARAMS, "")}
    yield Case("sgd", sgd, params, factors, (), "with factors")
    options: dict[str, Any] = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, **plain}
    yield Case(
        "adam", lambda be, a, j: be.adam(a.params, a.grads, a.m, a.v, a.lr, a.state, decoupled=True, **options),
        params | moments, {},
    )  # fmt: skip
    marks = {"touched": ((8,), "marks")}
    yield Case("sgd", sgd, params | marks, {}, (), "of touched vectors")
    yield Case("sgd", sgd, params | {"v": (PARAMS, "normal")} | marks, {}, (), "of touched vectors, with momentum")

    def adam(be: Any, a: Any, j: int) -> None:
        more = {name: getattr(a, name) for name in ("touched", "factors") if hasattr(a, name)}
        be.adam(a.params, a.grads, a.m, a.v, a.lr, a.state, decoupled=True, **more, **options)

    yield Case("adam", adam, params | moments | marks, {}, (), "of touched vectors")
    yield Case("adam", adam, params | moments, factors, (), "with factors")
    grads, totals = {"grads": (PARAMS, "normal")}, {"totals": (TOTALS, "totals")}
    yield Case("clip_by_global_norm", lambda be, a, j: be.clip_by_global_norm(a.grads, max_norm=0.5), grads, {})
    yield Case(
        "penalize", lambda be, a, j: be.penalize(a.params, a.grads, a.totals, a.state, alpha=0.1, mean=True),
        params | totals, {},
    )  # fmt: skip
    for mean in (True, False):

        def accumulate(be: Any, a: Any, j: int, mean: bool = mean) -> None:
            be.accumulate(a.grads, a.totals, a.state, group=2, mean=mean, out=a.out)

        what = "mean" if mean else "sum"
        yield Case("accumulate", accumulate, grads | totals | {"out": (PARAMS, "normal")}, {}, (), what)
    both = {"params": (PARAMS, "normal"), "out": (PARAMS, "normal")}
    yield Case("average", lambda be, a, j: be.average(a.params, a.state, decay=0.9, out=a.out), both, {})


def _random_and_custom() -> Iterator[Case]:
    def dropout(be: Any, a: Any, j: int) -> None:
        be.dropout(a.x, a.state, key=(1, 2), counter=(3, 4 + (j << MEMBER_SHIFT)), rate=0.4, out=getattr(a, "out", a.x))

    rows = {"x": (ROWS, "normal")}
    yield Case("dropout", dropout, rows, {"out": (ROWS, "")})
    yield Case("dropout", dropout, rows, {}, (), "in place")
    yield Case(
        "apply", lambda be, a, j: be.apply(lambda xp, x: xp.sqrt(x * x + 1), a.x, out=a.out), rows, {"out": (ROWS, "")}
    )
