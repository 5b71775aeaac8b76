"""Where an option lives that a call does not have: of the optimiser, the net, the Trainer or its ``fit``."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from chainrule.options import suggest

P = ParamSpec("P")
T = TypeVar("T")

_of_trainer: dict[str, set[str]] = {}  # the options of its methods

OTHER_NAMES = {  # of Keras, PyTorch, scikit-learn, LightGBM and others: what the option is called here
    **dict.fromkeys(("learning_rate", "learning_rate_init", "eta"), "lr"),
    **dict.fromkeys(("n_epochs", "num_epochs", "max_epochs", "nb_epoch", "max_iter", "epoch"), "epochs"),
    **dict.fromkeys(("random_state", "random_seed"), "seed"),
    **dict.fromkeys(("verbose", "progress_bar"), "progress"),
    **dict.fromkeys(("validation_split", "validation_fraction", "val_split", "valid", "val"), "validation"),
    **dict.fromkeys(("validation_data", "eval_set", "X_val", "y_val", "X_valid", "y_valid"), "validation"),
    **dict.fromkeys(("n_iter_no_change", "early_stopping_rounds"), "patience"),
    **dict.fromkeys(("sample_weights", "weights"), "sample_weight"),
    **dict.fromkeys(("class_weights",), "class_weight"),
    **dict.fromkeys(("clipnorm", "grad_clip", "gradient_clip_val", "max_norm"), "clip_norm"),
    **dict.fromkeys(("scheduler", "lr_scheduler", "lr_schedule"), "schedule"),
    **dict.fromkeys(("hidden_layer_sizes", "hidden"), "widths"),
    **dict.fromkeys(("criterion", "loss_function"), "loss"),
    "betas": "beta1",
    "alpha": "l2",
    "callback": "callbacks",
    "batchsize": "batch_size",
}
EXAMPLES = {  # what to write, by what the option is called here
    "lr": "cr.Trainer(net, cr.Adam(lr=1e-3))",
    "schedule": "cr.Trainer(net, cr.Adam(cr.Cosine(1e-3)))",
    "weight_decay": "cr.Trainer(net, cr.AdamW(weight_decay=1e-2))",
    "momentum": "cr.Trainer(net, cr.SGD(lr=0.1, momentum=0.9))",
    "patience": "cr.Trainer(net, early_stopping=cr.EarlyStopping(patience=10))",
    "device": 'cr.MLP([...], backend=cr.backend("cuda"))',
    "backend": 'cr.MLP([...], backend=cr.backend("cuda"))',
    "widths": "cr.MLP([64, 256, 10])",
    "activation": 'cr.MLP([...], activation="silu")',
    "loss": 'cr.MLP([...], loss="squared_error")',
    "dropout": "cr.MLP([...], dropout=0.2)",
    "epochs": "cr.Trainer(net, epochs=30).fit(X, y)",
    "batch_size": "cr.Trainer(net, batch_size=128).fit(X, y)",
    "progress": "cr.Trainer(net, progress=True)",
    "validation": "trainer.fit(X, y, validation=0.2), or validation=(X_valid, y_valid)",
    "class_weight": 'trainer.fit(X, y, class_weight="balanced")',
}


def names_misplaced_options(function: Callable[P, T]) -> Callable[P, T]:
    """A method of Trainer whose TypeError for an option that it does not have says where there is one, and how it is
    written; types and signature are those of the method."""
    known = _of_trainer[function.__name__] = set(inspect.signature(function).parameters) - {"self"}

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> T:
        for name in options:
            if name not in known:
                raise TypeError(_where(name, function.__qualname__, known))
        return function(*args, **options)

    return checked


def _where(given: str, function: str, known: set[str]) -> str:
    call = f"{function.removesuffix('.__init__')}()"
    name, places = OTHER_NAMES.get(given, given), _places()
    if name in known:
        return f"{call} has no option {given!r}: it is called {name!r} here: {EXAMPLES.get(name, f'{name}=...')}"
    for place, (names, example) in places.items():
        if name in names:
            return f"{call} has no option {given!r}, it is one of {place}: {EXAMPLES.get(name) or example.format(name)}"
    hint = suggest(given, known) or suggest(given, {n for names, _ in places.values() for n in names})
    return f"{call} has no option {given!r}{f': {hint}' if hint else ''}"


def _places() -> Mapping[str, tuple[set[str], str]]:
    """{place: the names of its options, and how one is written}; by their signatures, read for an error alone."""
    from chainrule.nn.mlp import MLP
    from chainrule.optim.adam import Adam, AdamW
    from chainrule.optim.lbfgs import LBFGS
    from chainrule.optim.sgd import SGD
    from chainrule.train.monitoring.early_stopping import EarlyStopping

    def fields(*kinds: Any) -> set[str]:
        return {f.name for kind in kinds for f in dataclasses.fields(kind) if f.init}

    return {
        "the Trainer": (_of_trainer["__init__"], "cr.Trainer(net, {}=...)"),
        "fit": (_of_trainer["fit"], "trainer.fit(X, y, {}=...)"),
        "Adam and AdamW": (fields(Adam, AdamW) | {"schedule"}, "cr.Trainer(net, cr.Adam({}=...))"),
        "SGD": (fields(SGD), "cr.Trainer(net, cr.SGD(lr=0.1, {}=...))"),
        "LBFGS": (fields(LBFGS), "cr.Trainer(net, cr.LBFGS({}=...))"),
        "EarlyStopping": (fields(EarlyStopping), "cr.Trainer(net, early_stopping=cr.EarlyStopping({}=...))"),
        "the net": (set(inspect.signature(MLP).parameters) | {"device"}, "cr.MLP([...], {}=...)"),
    }
