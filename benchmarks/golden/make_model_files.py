"""Model files of the format version that is written today, with what they predict: ``make_model_files.py FOLDER``.

Run once when a version is new, and the files kept: that later versions read them is what they are for.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule.nn.columns.target_columns import TargetColumns

ROWS = np.random.default_rng(7).normal(size=(5, 3)).round(3)


def nets(folder: Path) -> dict[str, cr.Network]:
    """Two with every kind of layer, one of options and scaled targets, one of a table with text and holes, one of a
    file with decimal commas, one with statistics of the target."""
    (folder / "german.csv").write_text(GERMAN)
    block = cr.Residual([cr.LayerNorm(), cr.Dense(4, "gelu"), cr.Residual([cr.Dropout(0.2), cr.Dense(4)])])
    layers = cr.Network([cr.BatchNorm(), cr.Dense(4, "relu"), block, cr.Activation("mish"), cr.Dense(3)], 3, seed=3)
    layers.preparation = cr.Preparation(
        cr.Standardization(np.array([0.5, -1.0, 0.0]), np.array([2.0, 0.5, 1.0]), 3.0),
        None,
        ("a", "b", "größe"),
        "kind",
        ("x", "y", "z"),
    )
    beside = cr.Concatenate(
        [
            cr.Scale(),
            cr.Dense(4, "selu", start=cr.Start("lecun", bias_std=0.5, rows=3)),
            cr.Concatenate([cr.Dense(2, "tanh")]),
        ]
    )
    encoded = cr.Network(
        [cr.PiecewiseLinear([(-1.0, -0.25, 0.1, 1.5), (), (0.0, 0.5)]), beside, cr.Dense(1)],
        3,
        loss="squared_error",
        seed=7,
    )
    scaled = cr.MLP([3, 5, 2], loss=cr.Quantile([0.2, 0.8]), dtype="float64", seed=4)
    scaled.preparation = cr.Preparation(targets=cr.Standardization(np.array([5.0]), np.array([2.0])))
    encoder = cr.TableEncoder.fit(table(), max_categories=2)
    tabular = cr.MLP([len(encoder.names), 6, 1], loss="squared_error", dtype="float64", seed=5)
    tabular.preparation = cr.Preparation(encoder=encoder)
    target = TargetColumns.of_numbers(np.arange(6.0), "y")
    of_target = cr.TableEncoder.fit(table(), max_categories=1, target=target)
    statistical = cr.MLP([len(of_target.names), 6, 1], loss="squared_error", dtype="float64", seed=8)
    statistical.preparation = cr.Preparation(encoder=of_target)
    german = cr.read_table(folder / "german.csv", target="y", categorical=["code"])
    of_german = cr.TableEncoder.fit(german.columns)
    written = cr.MLP([len(of_german.names), 6, 1], loss="squared_error", dtype="float64", seed=6)
    written.preparation = cr.Preparation(
        cr.Standardization.fit(of_german.encode(german.columns)),
        encoder=of_german,
        target_notation=german.columns.target_notation,
    )
    for net, x, y in (
        (layers, ROWS, [0, 1, 2, 0, 1]),
        (encoded, ROWS, ROWS[:, 1]),
        (scaled, ROWS, ROWS[:, 0]),
        (tabular, encoder.encode(table()), np.arange(6.0)),
        (statistical, of_target.encode_training(table(), target=target, block=np.arange(6) % 3), np.arange(6.0)),
        (written, of_german.encode(german.columns), german.target / 1e3),
    ):
        cr.Trainer(net, cr.Adam(1e-2), epochs=3).fit(x, y)  # weights and running means that no initialiser makes
    return {
        "layers-1": layers,
        "scaled-1": scaled,
        "table-2": tabular,
        "notation-5": written,
        "encoded-6": encoded,
        "statistics-6": statistical,
    }


def table() -> dict[str, cr.Categorical | np.ndarray]:
    """Text with a rare category and a hole, and numbers with a hole."""
    kinds = cr.Categorical(np.array([0, 1, -1, 1, 0, 2]), ("blue", "red", "rare"))
    return {"kind": kinds, "size": np.array([1.0, np.nan, 3.0, 4.0, 5.0, 6.0])}


GERMAN = "price;area;code;y\n7.311;3,25;7,0;1.000,5\n1.204;1;8,0;2.000\n512;2;7,0;3.000\n2.001;4,5;8,0;4.000\n"
NEW = "price;area;code\n5.000;3;7,0\n1.024;2;8\n900;1;9\n"
CSV = "size,kind\n1,blue\n,red\n3,\n4,red\n5,violet\n6.25,rare\n"


def main() -> None:
    folder = Path(sys.argv[1])
    for stem, net in nets(folder).items():
        net.save(folder / f"{stem}.safetensors")
        if net.preparation.encoder is not None:
            text = NEW if stem.startswith("notation") else CSV
            (folder / "rows.csv").write_text(text)
            found = {"csv": text, "predict": net.predict_table(cr.read_table(folder / "rows.csv", like=net)).tolist()}
            (folder / "rows.csv").unlink()
        else:
            found = {"rows": ROWS.tolist(), "predict": net.predict(ROWS).tolist()}
            if net.loss.task == "classify":
                found["predict_proba"] = net.predict_proba(ROWS).tolist()
        (folder / f"{stem}.json").write_text(json.dumps(found) + "\n")
    (folder / "german.csv").unlink()


if __name__ == "__main__":
    main()
