"""Arrays as nobody would hand them over, and as everybody does.

Each case is drawn from its own number: features, targets and weights of any dtype, layout and container, some of them
with what no net can take. A fit and a prediction are bit for bit those of clean copies, or the first offender is
refused by its place; and nothing that was handed over is changed.
"""

from __future__ import annotations

import importlib.util
import random
import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr
from campaigns.tally import Tally

TITLE = "odd arrays"
CASES = 2_000

N_IN, N_OUT = 3, 3
ESTIMATORS = importlib.util.find_spec("sklearn") is not None  # every fifth case is one of theirs
KINDS = [
    "float16", "float32", "float64", "longdouble", ">f2", ">f4", ">f8", "int8", "int16", "int32", "int64", ">i2", ">i8",
    "uint8", "uint16", "uint64", ">u4", "bool", "object", "U4", "S4", "complex64", "M8[s]", "m8[s]", "f4,f4",
]  # fmt: skip


class Matrix(np.matrix):
    """A subclass whose indexing keeps two axes."""


class Loud(np.ndarray):
    """A subclass of which every operation would be noticed."""

    def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a ufunc of a subclass was called")


class Protocol:
    """No array, but it can be made one."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    dtype = property(lambda self: self._array.dtype)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._array if dtype is None else self._array.astype(dtype)


def unaligned(a: np.ndarray) -> np.ndarray:
    """The same numbers, a byte further on."""
    if a.dtype.hasobject or not a.size:
        return a
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(a.tobytes(), np.uint8)
    return raw.view(a.dtype).reshape(a.shape)


def locked(a: np.ndarray) -> np.ndarray:
    """Read-only."""
    a = a.copy()
    a.flags.writeable = False
    return a


def mapped(a: np.ndarray) -> np.ndarray:
    """In a file mapped into memory."""
    if a.dtype.hasobject or not a.size:
        return a
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npy"
        np.save(path, a)
        return np.load(path, mmap_mode="r")


def padded(a: np.ndarray) -> np.ndarray:
    """A window of something larger."""
    large = np.zeros([2 * size + 3 for size in a.shape], a.dtype)
    window = large[tuple(slice(1, 1 + 2 * size, 2) for size in a.shape)]
    window[...] = a
    return window


LAYOUTS: dict[str, Callable[[np.ndarray], Any]] = {
    "as it is": lambda a: a,
    "Fortran order": np.asfortranarray,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "a window": padded,
    "mirrored": lambda a: a[..., ::-1].copy()[..., ::-1],
    "one row again and again": lambda a: np.broadcast_to(a[:1], a.shape) if a.ndim else a,
    "read-only": locked,
    "unaligned": unaligned,
    "mapped": mapped,
    "a record array": lambda a: a.view(np.recarray) if a.dtype.kind != "V" else a,
    "a matrix": lambda a: a.view(Matrix) if a.ndim == 2 else a,
    "a loud subclass": lambda a: a.view(Loud),
    "a list": lambda a: a.tolist(),
    "a tuple": lambda a: tuple(a) if a.ndim else a,
    "a list of lists of NumPy numbers": lambda a: [list(row) if a.ndim > 1 else row for row in a] if a.ndim else a,
    "an object with __array__": Protocol,
    "a buffer": lambda a: memoryview(a) if a.dtype.kind in "biuf" and a.dtype.isnative and a.ndim else a,
    "masked, none of it": np.ma.masked_array,
    "masked": lambda a: np.ma.masked_array(a, mask=np.arange(a.size).reshape(a.shape) == 0) if a.size else a,
    "an axis more": lambda a: a[None],
    "an axis at the end": lambda a: a[..., None],
    "flat": lambda a: a.reshape(-1),
    "one number": lambda a: a.reshape(-1)[:1].reshape(()) if a.size else a,
    "no rows": lambda a: a[:0],
    "one row too many": lambda a: np.concatenate([a, a[:1]]) if a.ndim else a,
    "a set": lambda a: set(a.reshape(-1).tolist()),
    "a generator": lambda a: (row for row in a.tolist()) if a.ndim else a,
    "None": lambda a: None,
    "text": lambda a: "abc",
    "unequal rows": lambda a: [*a.tolist(), [1]] if a.ndim else a,
}
USUAL = 15  # of the layouts, the first ones: as good as a clean copy
VALUES = [
    0.0,
    -0.0,
    1.0,
    0.5,
    -3.0,
    2.0**24 + 1,
    1e39,
    -1e39,
    1e300,
    np.nan,
    np.inf,
    -np.inf,
    1e-320,
    2.0**63,
    -1.0,
    3.0,
]


class Arrays(NamedTuple):
    """What is handed over."""

    X: Any
    y: Any
    weights: Any


def strange(rng: random.Random, shape: tuple[int, ...], top: int) -> Any:
    """Whole numbers from 0 to ``top`` of any dtype and layout; now and then with something else among them."""
    kind = rng.choice(KINDS) if rng.random() < 0.6 else "float64"
    values = np.array(
        [rng.randint(0, min(top, 1) if kind == "bool" else top) for _ in range(int(np.prod(shape)))], float
    )
    if rng.random() < 0.15 and values.size:
        values[rng.randrange(values.size)] = rng.choice(VALUES)
    with np.errstate(all="ignore"):
        if kind == "f4,f4":
            array = np.zeros(shape, kind)
        elif kind in {"M8[s]", "m8[s]"}:
            array = np.zeros(shape, "i8").astype(kind)
        else:
            array = values.reshape(shape).astype(kind)
    names = list(LAYOUTS)
    return LAYOUTS[rng.choice(names[:USUAL] if rng.random() < 0.9 else names)](array)


LOSSES = ("softmax_cross_entropy", "softmax_cross_entropy", "squared_error", "sigmoid_cross_entropy")


def draw(number: int) -> tuple[random.Random, str, Arrays]:
    """The loss and the arrays of this number."""
    rng = random.Random(number)
    n, loss = rng.randint(1, 6), rng.choice(LOSSES)
    shapes = [(n,), (n, 1)] if loss == "softmax_cross_entropy" else [(n, N_OUT)]
    shape = rng.choice(shapes if rng.random() < 0.9 else [(n,), (n, 1), (n, N_OUT)])
    top = 1 if loss == "sigmoid_cross_entropy" else 2
    clean = np.array([rng.randint(0, top) for _ in range(int(np.prod(shape)))]).reshape(shape)
    X = strange(rng, (n, N_IN), 9)
    y = strange(rng, shape, top) if rng.random() < 0.4 else clean
    return rng, loss, Arrays(X, y, strange(rng, (n,), 3) if rng.random() < 0.3 else None)


# ---- what must come of them, said without the library ----------------------------------------------


class Verdict(NamedTuple):
    """A clean copy, or why there is none and where the first offender stands, if one element is to blame."""

    clean: np.ndarray | None
    place: str = ""


def judge(given: Any, dtype: np.dtype, allowed: Callable[[np.ndarray], np.ndarray], axes: tuple[int, ...]) -> Verdict:
    """Numbers of so many axes, each of them ``allowed``."""
    if given is None or isinstance(given, np.ma.MaskedArray | set | str) or hasattr(given, "send"):
        return Verdict(None)
    try:
        array = np.array(given.view(np.ndarray) if isinstance(given, np.ndarray) else given, copy=True)
    except (ValueError, TypeError):
        return Verdict(None)
    if array.dtype.kind not in "biuf" or array.ndim not in axes or not len(array):
        return Verdict(None)
    with np.errstate(all="ignore"):
        bad = ~np.isfinite(array.astype(dtype)) | ~allowed(array)
    if bad.any():
        at = np.argwhere(bad)[0]
        return Verdict(None, ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column"), at, strict=False)))
    return Verdict(np.ascontiguousarray(array))


def judge_all(arrays: Arrays, dtype: np.dtype, loss: str) -> tuple[Arrays | None, list[str]]:
    """Clean copies; or None, with the places that a refusal may name ("" where it need not name any)."""
    anything = lambda a: np.ones(a.shape, bool)
    labels = lambda a: (a >= 0) & (a < N_OUT) & (a == np.floor(a))
    chances = lambda a: (a >= 0) & (a <= 1)
    allowed = {"softmax_cross_entropy": labels, "sigmoid_cross_entropy": chances}.get(loss, anything)
    X = judge(arrays.X, dtype, anything, (2,))
    y = judge(arrays.y, dtype, allowed, (1, 2))
    w = Verdict(np.ones(1))
    if arrays.weights is not None:  # of any size: only their ratios count
        w = judge(arrays.weights, np.dtype(np.longdouble), lambda a: a >= 0, (1,))
    if X.clean is None or y.clean is None or w.clean is None:
        return None, [verdict.place for verdict in (X, y, w) if verdict.clean is None]
    n, shape = len(X.clean), y.clean.shape
    wanted = {(n,), (n, 1)} if loss == "softmax_cross_entropy" else {(n, N_OUT)}
    weighted = arrays.weights is not None
    if X.clean.shape[1] != N_IN or shape not in wanted or (weighted and (w.clean.shape != (n,) or not w.clean.any())):
        return None, [""]
    return Arrays(X.clean, y.clean, w.clean if weighted else None), []


# ---- what comes of them -----------------------------------------------------------------------------


def trained(arrays: Arrays, dtype: str, loss: str, *, guarded: bool, stream: bool) -> Any:
    """Losses, predictions and gradients."""
    net = cr.MLP([N_IN, 4, N_OUT], loss=loss, dtype=dtype, backend=cr.GuardedBackend() if guarded else None)
    X, y, weights = arrays
    trainer = cr.Trainer(net, batch_size=3, epochs=2, stream=stream if isinstance(X, np.ndarray) else None)
    run = trainer.fit(X, y, sample_weight=weights)
    loss_value, gradients = net.loss_and_gradients(X, y, weights)
    return (
        run.history["loss"],
        float(loss_value),
        net.predict(X).tolist(),
        [net.backend.download(g).tolist() for g in gradients.values()],
    )


def estimated(arrays: Arrays, loss: str) -> Any:
    """What an estimator makes of them."""
    kind = cr.MLPRegressor if loss == "squared_error" else cr.MLPClassifier
    model = kind(hidden_layer_sizes=(4,), max_iter=2, random_state=0, learning_rate="cosine", device="cpu")
    model.fit(arrays.X, arrays.y, sample_weight=arrays.weights)
    return model.loss_curve_, model.predict(arrays.X).tolist()


def copy_of(array: np.ndarray) -> np.ndarray:
    """Of the same numbers, by way of Python's; text and objects become what Python makes of them."""
    return np.array(array.tolist(), array.dtype.newbyteorder("=") if array.dtype.kind in "biuf" else None)


def outcome_of_estimator(number: int) -> str:
    """As :func:`outcome`. scikit-learn decides what it takes for numbers; holes, masks and layouts are ours."""
    _, loss, arrays = draw(number)
    arrays = Arrays(*(np.asarray(a) if isinstance(a, Loud) else a for a in arrays))
    if loss == "sigmoid_cross_entropy" or any(hasattr(array, "send") for array in arrays):
        return "refused"
    before = [snapshot(array) for array in arrays]
    try:
        got = estimated(arrays, loss)
    except (ValueError, TypeError, cr.ChainruleError) as error:
        usual = all(a is None or (type(a) is np.ndarray and a.dtype.kind in "biuf") for a in arrays)
        if not usual or not judge_all(arrays, np.dtype("float32"), "squared_error")[0]:
            return "refused"
        said = error
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200}"
    else:
        said = None
    if any(isinstance(a, np.ma.MaskedArray) for a in arrays):
        return "used what is masked"
    narrow = getattr(arrays.X, "dtype", None) == np.float32
    try:
        clean = [None if a is None else copy_of(np.asarray(a)) for a in arrays]
        clean[0] = np.array(clean[0], np.float32 if narrow else np.float64, order="C")
        wanted = estimated(Arrays(*clean), loss)
    except (ValueError, TypeError, cr.ChainruleError) as error:
        return "refused" if said is not None else f"used, but of a clean copy: {error!s:.200}"
    if said is not None:
        return f"refused: {said!s:.200}"
    if got != wanted:
        return "not what the clean copy gives"
    return "used" if before == [snapshot(array) for array in arrays] else "changed its input"


def snapshot(array: Any) -> Any:
    """What it holds, to compare."""
    if isinstance(array, Protocol):
        array = array._array
    if isinstance(array, np.ma.MaskedArray):
        return np.asarray(array).tobytes(), np.ma.getmaskarray(array).tobytes()
    return array.tobytes() if isinstance(array, np.ndarray | memoryview) else repr(array)


def outcome(number: int) -> str:
    """ "used", "refused", or what went wrong."""
    rng, loss, arrays = draw(number)
    dtype = rng.choice(["float32", "float64"])
    how = {"guarded": rng.random() < 0.3, "stream": rng.random() < 0.3}
    clean, places = judge_all(arrays, np.dtype(dtype), loss)
    if any(hasattr(array, "send") for array in arrays):
        before: list[Any] = []
    else:
        before = [snapshot(array) for array in arrays]
    try:
        got = trained(arrays, dtype, loss, **how)
    except cr.DivergenceError:
        return "used" if clean is not None else "diverged instead of a refusal"
    except cr.ChainruleError as error:
        if clean is not None:
            return f"refused: {error}"
        shaped = isinstance(error, cr.ShapeError) or "" in places or "at least one weight above 0" in error.message
        named = any(re.search(place.removesuffix(", column 0") + r"\b", error.message) for place in places)
        return "refused" if shaped or named else f"without {places}: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200}"
    if clean is None:
        return f"used what should be refused ({places})"
    if got != trained(clean, dtype, loss, **how):
        return "not what the clean copy gives"
    if before != [snapshot(array) for array in arrays]:
        return "changed its input"
    return "used"


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many were used and refused, and what went wrong, by number."""
    tally = Tally("used", "refused")
    for number in numbers:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings(
                "ignore",
                message="Stochastic Optimizer|.*[Cc]onverge|A column-vector y was|invalid value encountered in cast",
            )
            warnings.filterwarnings("ignore", category=PendingDeprecationWarning)  # of np.matrix
            warnings.filterwarnings("ignore", message="the matrix subclass")
            said = (outcome if number % 5 or not ESTIMATORS else outcome_of_estimator)(number)
        tally.add(number, said)
    return tally.result()
