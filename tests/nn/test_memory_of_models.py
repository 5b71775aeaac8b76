"""Model files of few bytes that stand for much: refused or used, in memory that docs/reliability.md promises.

The bounds are those of its table; a megabyte or two beside them is for what Python makes on the way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import host_memory
from chainrule.cli.console import prediction_table
from chainrule.cli.main import main
from chainrule.files import model_file, sealed_file
from peaks import peak_of, saved_rows

MARGIN = 4 << 20
OF_ARRAYS, OF_HEADER = 2, 40  # bytes a byte of the file

# ---- model files ------------------------------------------------------------------------------------

DENSE = {"kind": "dense", "n_out": 2, "activation": "identity"}
RELU = {"kind": "activation", "activation": "relu"}
DESCRIPTION: dict[str, Any] = {
    "n_in": 2, "layers": [DENSE], "loss": "softmax_cross_entropy", "dtype": "float32", "seed": 0, "feature_names": [],
    "target_name": "", "classes": [],
}  # fmt: skip
MANY = 5_000
NEST: dict[str, Any] = RELU
for _ in range(5):
    NEST = {"kind": "residual", "layers": [NEST] * 4}


def dense(n_in: int, n_out: int = 2) -> dict[str, np.ndarray]:
    return {"dense0.W": np.ones((n_in, n_out), np.float32), "dense0.b": np.zeros(n_out, np.float32)}


def categories(name: str, names: list[str]) -> dict[str, Any]:
    shares = [1 / len(names)] * len(names)
    column = {"kind": "category", "name": name, "categories": names, "rarer": False, "missing": False, "shares": shares}
    return {"n_in": len(names), "columns": [column], "feature_names": ["x"] * len(names)}


NUMBERS = [{"kind": "number", "name": f"x{i}", "fill": 0.0, "indicator": False} for i in range(MANY)]
TABLES = {f"embedding0.E{i}": np.ones((1, 1), np.float32) for i in range(1_000)}
EMBEDDING = {"kind": "embedding", "columns": [*range(1_000)], "counts": [1] * 1_000, "widths": [1] * 1_000}
NORMS = {f"layer_norm{i}.{part}": np.ones(1, np.float32) for i in range(300) for part in ("gain", "bias")}
TWICE = {"kind": "concatenate", "layers": [RELU]}
WIDE = DENSE | {"n_out": MANY}
LEVELS = [(i + 1) / (MANY + 1) for i in range(MANY)]

# What a file says, its arrays, and what is said of it; "" if it is a net.
MODELS: dict[str, tuple[dict[str, Any], dict[str, np.ndarray], str]] = {
    "a class of 2 MB": ({"classes": ["a", "b" * 2_000_000]}, dense(2), "a name of a class of at most 65,536"),
    "a class of escapes": ({"classes": ["a", "\x01" * 200_000]}, dense(2), "a name of a class of at most 65,536"),
    "a target of 2 MB": ({"target_name": "t" * 2_000_000}, dense(2), "a name of a target of at most 65,536"),
    "a feature of 2 MB": ({"feature_names": ["f" * 2_000_000, ""]}, dense(2), "a name of a feature of at most 65,536"),
    "a category of 2 MB": (categories("c", ["c" * 2_000_000, "d"]), dense(2), "a category of column 'c' of at most"),
    "a column of 2 MB": (categories("c" * 2_000_000, ["d", "e"]), dense(2), "a name of a column of at most"),
    "a long name with each category": (
        categories("n" * 60_000, [str(i) for i in range(MANY)]), dense(MANY), "names of X of at most 67,108,864",
    ),
    "classes of one name": ({"classes": ["a", "a"]}, dense(2), "classes with different names, got 'a' twice"),
    "empty classes": ({"layers": [WIDE], "classes": [""] * MANY}, dense(2, MANY), "with different names, got ''"),
    "many classes": ({"layers": [WIDE], "classes": [str(i) for i in range(MANY)]}, dense(2, MANY), ""),
    "empty features": ({"n_in": MANY, "feature_names": [""] * MANY}, dense(MANY), ""),
    "many columns": (
        {"n_in": MANY, "columns": NUMBERS, "feature_names": [f"x{i}" for i in range(MANY)]}, dense(MANY), "",
    ),
    "many levels": ({"layers": [WIDE], "loss": {"name": "quantile", "levels": LEVELS}}, dense(2, MANY), ""),
    "wide activations": ({"n_in": MANY, "layers": [RELU] * 300 + [DENSE]}, dense(MANY), ""),
    "a nest of blocks": ({"n_in": MANY, "layers": [NEST, DENSE]}, dense(MANY), ""),
    "very many activations": ({"layers": [RELU] * 10_000 + [DENSE]}, dense(2), "at most 10,000 layers"),
    "very many dropouts": ({"layers": [{"kind": "dropout"}] * 10_000 + [DENSE]}, dense(2), "at most 10,000 layers"),
    "a nest of very many": ({"layers": [{"kind": "residual", "layers": [NEST] * 9}, DENSE]}, dense(2), "at most 10,00"),
    "columns doubled without arrays": ({"layers": [TWICE] * 60 + [DENSE]}, dense(2), "does not fit the arrays"),
    "many edges": (
        {"n_in": MANY, "layers": [{"kind": "piecewise_linear", "edges": [[0, 1]] * MANY}, DENSE]}, dense(2 * MANY), "",
    ),
    "many encodings": (
        {"layers": [{"kind": "piecewise_linear", "edges": []}] * 300 + [DENSE]}, dense(2), "at most 8 PiecewiseLinear",
    ),
    "layers of one parameter": (
        {"n_in": 1, "layers": [{"kind": "layer_norm"}] * 300 + [DENSE]}, dense(1) | NORMS, "",
    ),
    "tables of one number": (
        {"n_in": 1_000, "layers": [EMBEDDING | {"shares": [[]] * 1_000}, DENSE]}, dense(1_000) | TABLES, "",
    ),
    "columns without arrays": ({"n_in": 10**9, "layers": [RELU, DENSE]}, dense(2), "does not fit the arrays"),
    "codes without arrays": (
        {"layers": [EMBEDDING | {"columns": [0], "counts": [2**24], "widths": [600], "shares": [[]]}, DENSE]},
        dense(601), "does not fit the arrays",
    ),
}  # fmt: skip


def write_model(path: Path, description: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    whole = DESCRIPTION | description
    version = model_file.version_of(whole)
    sealed_file.write(path, model_file.FORMAT, version, whole, {f"parameters.{k}": v for k, v in arrays.items()})


def allowed(path: Path) -> int:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    return OF_ARRAYS * (path.stat().st_size - header) + OF_HEADER * header + MARGIN


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory) -> Iterator[None]:
    """What is imported and made once is no file's fault, nor are loops that come once a net has worked enough."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("CHAINRULE_COMPILED", "0")
    folder = tmp_path_factory.mktemp("imported")
    write_model(folder / "m", {}, dense(2))
    cr.load(folder / "m", device="cpu").predict(np.ones((2, 2)))
    assert main(["evaluate", str(folder / "m"), str(saved_rows(folder, np.ones((3, 3)))), "--target", "2"]) == 0
    yield
    monkeypatch.undo()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_file_that_says_much(tmp_path, name):
    description, arrays, refused = MODELS[name]
    path = tmp_path / "m"
    write_model(path, description, arrays)
    with peak_of() as peak:
        if refused:
            with pytest.raises(cr.ModelFileError, match=refused) as caught:
                cr.load(path, device="cpu")
            assert len(str(caught.value)) < 500
        else:
            net = cr.load(path, device="cpu")
    assert peak.bytes < allowed(path)
    if refused:
        return
    rows = np.zeros((20, net.n_in), np.float32)
    with peak_of() as peak:
        net.predict(rows)
    assert peak.bytes < 4 * (rows.nbytes + 20 * 4 * net.n_out) + allowed(path)


def test_long_names_of_classes_cost_a_prediction_nothing(tmp_path):
    """Eight bytes a row: a row had the width of the longest name, 4 bytes a character."""
    write_model(tmp_path / "m", {"classes": ["a", "b" * 65_536]}, dense(2))
    net, rows = cr.load(tmp_path / "m", device="cpu"), np.ones((2_000, 2), np.float32)
    table = cr.read_table(saved_rows(tmp_path, rows), need_target=False, like=net)
    with peak_of() as peak:
        said = net.predict_table(table)
    assert (said.dtype, said.shape, set(said)) == (object, (2_000,), {"a"})
    assert peak.bytes < 1 << 20


@pytest.mark.parametrize(
    "make",
    [
        lambda long: cr.Preparation(classes=("a", long)),
        lambda long: cr.Preparation(target_name=long),
        lambda long: cr.Preparation(feature_names=("a", long)),
        lambda long: cr.TableEncoder.fit({long: np.ones(3)}),
        lambda long: cr.TableEncoder.fit({"a": cr.Categorical(np.zeros(3, np.int32), (long,))}),
    ],
)
def test_names_that_no_file_takes_are_refused_before_a_net_is_trained(make: Callable[[str], Any]):
    make("n" * 65_536)
    with pytest.raises(cr.DataError, match=r"of at most 65,536 characters, got 'nnn.* of 65,537"):
        make("n" * 65_537)


def test_longest_names_come_back_from_a_file(tmp_path):
    net = cr.MLP([2, 2])
    net.preparation = cr.Preparation(
        feature_names=("f" * 65_536, "\x01" * 65_536), target_name="\U0001f600" * 65_536, classes=("a", "c" * 65_536)
    )
    net.save(tmp_path / "m")
    assert cr.load(tmp_path / "m", device="cpu").preparation == net.preparation


def test_a_net_of_too_many_layers_is_refused():
    with pytest.raises(cr.OptionError, match="expected at most 10,000 layers, those within blocks included"):
        cr.Network([*[cr.Dropout(0.1)] * 10_000, cr.Dense(2)], 2)


def test_names_too_long_for_a_model_file_are_refused_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a,y\n" + "".join(f"{'n' * 200}{i},{i % 2}\n" for i in range(30)))
    monkeypatch.setattr(model_file, "FORMAT", model_file.FORMAT._replace(max_header=4_000))
    assert main(["train", "t.csv", "--target", "y", "--run-dir", "run"]) == 3
    assert "expected at most 4,000 bytes of names and categories" in capsys.readouterr().err
    assert not Path("run").exists()


def test_scores_of_very_many_classes_have_no_matrix(tmp_path, capsys):
    k = 2_000  # whose square would be 32 MB
    write_model(tmp_path / "m", {"layers": [DENSE | {"n_out": k}], "classes": [f"c{i}" for i in range(k)]}, dense(2, k))
    np.savez(tmp_path / "t.npz", X=np.zeros((3, 2)), y=np.array(["c0", "c1", "c2"]))
    with peak_of() as peak:
        assert main(["evaluate", str(tmp_path / "m"), str(tmp_path / "t.npz")]) == 0
    assert peak.bytes < 4 << 20
    said = capsys.readouterr()
    assert "accuracy" in said.out
    assert "the most frequent of 2 mistakes" in said.out
    assert (
        main(["evaluate", str(tmp_path / "m"), str(tmp_path / "t.npz"), "--json", "--plot", str(tmp_path / "c.svg")])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["largest_confusions"] == [{"true": f"c{i}", "predicted": "c0", "rows": 1} for i in (1, 2)]
    assert not {"classes", "confusion_matrix"} & set(found)
    assert "1961 others" in (tmp_path / "c.svg").read_text()


def test_predictions_of_very_many_classes_are_written_in_parts(tmp_path):
    k, n = 500, 200
    write_model(tmp_path / "m", {"layers": [DENSE | {"n_out": k}]}, dense(2, k))
    path = saved_rows(tmp_path, np.zeros((n, 2)))
    with peak_of() as peak:
        assert main(["predict", str(tmp_path / "m"), str(path), "-o", str(tmp_path / "out.csv")]) == 0
    size = (tmp_path / "out.csv").stat().st_size
    assert size > 7 * n * k / 2
    assert peak.bytes < 8 * size + 2 * 4 * n * k + MARGIN  # a text a number is 55 bytes


def test_predictions_that_do_not_fit_are_refused_before_they_are_made(monkeypatch):
    net = cr.MLP([2, 300])
    monkeypatch.setattr(host_memory, "MIN_CHECKED", 0)
    monkeypatch.setattr(host_memory, "free_host_memory", lambda: 1_000)
    with pytest.raises(cr.OutOfMemoryError, match=r"12,000 bytes more are needed and 1,000 bytes are free") as caught:
        net.predict_proba(np.ones((10, 2)))
    assert "fewer rows" in caught.value.hint


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_long_names_of_classes_are_written_some_rows_at_a_time(kind, tmp_path, monkeypatch):
    write_model(tmp_path / "m", {"classes": ["a" * 60_000, "b"]}, dense(2))
    path, out = saved_rows(tmp_path, np.zeros((200, 2))), tmp_path / f"out.{kind}"
    if kind == "parquet":
        pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        monkeypatch.setattr(prediction_table, "ROW_GROUP", 1 << 20)
    monkeypatch.setattr(prediction_table, "LETTERS_AT_ONCE", 1 << 19)
    command = ["predict", str(tmp_path / "m"), str(path), "-o", str(out)]
    assert main(command) == 0  # pyarrow imports what it needs
    with peak_of() as peak:
        assert main(command) == 0
    assert peak.bytes < 8 << 20
    assert kind != "csv" or out.stat().st_size > 12e6


def test_a_net_that_is_larger_than_what_is_free_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(host_memory, "free_host_memory", lambda: 500_000_000)
    with pytest.raises(cr.OutOfMemoryError, match="while making a net"):
        cr.MLP([2, 40_000_000, 2])
