"""Model files that someone made to do harm, or that a disk did.

Versions 1, 2 and 3. A file is refused with a ModelFileError, or is a net that predicts.
"""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from campaigns.damage import damaged
from campaigns.limits import outcome_of
from campaigns.tally import Tally
from chainrule.files import model_file, sealed_file
from chainrule.files.sealed_file import Content
from chainrule.nn.columns.column_data import TableColumns
from chainrule.nn.columns.notation import Notation

TITLE = "hostile model files"
CASES = 100_000


def nets() -> list[cr.Network]:
    """Small, and together of every layer and of losses with every kind of option."""
    block = cr.Residual([cr.LayerNorm(), cr.Dense(4, "gelu"), cr.Residual([cr.Dropout(0.2), cr.Dense(4)])])
    many = cr.Network([cr.BatchNorm(), cr.Dense(4, "relu"), block, cr.Activation("mish"), cr.Dense(3)], 2)
    many.preparation = cr.Preparation(
        cr.Standardization(np.array([1.0, 2.0]), np.array([3.0, 4.0]), 3.0), None, ("a", "b"), "kind", ("x", "y", "z")
    )
    quantiles = cr.MLP([2, 3, 2], loss=cr.Quantile([0.2, 0.8]), dtype="float64")
    quantiles.preparation = cr.Preparation(targets=cr.Standardization(np.array([5.0]), np.array([2.0])))
    kinds = cr.Categorical(np.array([0, 1, -1, 1, 0, 2]), ("blue", "red", "rare"))
    table = {"kind": kinds, "size": np.array([1.0, np.nan, 3.0, 4.0, 5.0, 6.0])}
    encoder = cr.TableEncoder.fit(table, max_categories=2)
    tabular = cr.MLP([len(encoder.names), 3])
    tabular.preparation = cr.Preparation(encoder=encoder)
    embedding_encoder = cr.TableEncoder.fit(table, embed_above=2)
    embedded = cr.MLP([len(embedding_encoder.names), 3, 2], embedding=embedding_encoder.embedding())
    embedded.preparation = cr.Preparation(encoder=embedding_encoder)
    comma = Notation(",", ".")
    written_encoder = cr.TableEncoder.fit(TableColumns(table, notations={"kind": Notation(","), "size": comma}))
    written = cr.MLP([len(written_encoder.names), 1], loss="squared_error")
    written.preparation = cr.Preparation(encoder=written_encoder, target_notation=comma)
    beside = cr.Concatenate([cr.Scale(), cr.Dense(3, "selu")])
    encoded = cr.Network([cr.PiecewiseLinear([(-1.0, 0.0, 0.5), (), (0.0, 1.0)][:2]), beside, cr.Dense(2)], 2)
    ensemble = cr.MLP([2, 4, 2], members=3, normalization="batch", dropout=0.1)
    fractions = [cr.Scale(), cr.PiecewiseLinear([(-1.0, 0.5), ()]), beside, cr.Dense(1)]
    others = [ensemble, cr.Network(fractions, 2, loss="gamma", members=2), encoded, written]
    others += [cr.MLP([2, 1], loss=cr.Huber(delta=0.5)), cr.MLP([1, 2], loss="gaussian_nll")]
    return [many, quantiles, tabular, embedded, *others]


def much_for_little(rng: random.Random, description: dict[str, Any], _: Any) -> None:
    """Layers without parameters, nests of them, and names, all of which cost a file little and could cost memory."""
    layer = rng.choice(
        [
            {"kind": "activation", "activation": "tanh"},
            {"kind": "dropout", "rate": 0.5},
            {"kind": "layer_norm"},
            {"kind": "piecewise_linear", "edges": []},
        ]
    )
    within = 1
    for _ in range(rng.randint(0, 4)):
        layer = {"kind": rng.choice(["residual", "concatenate"]), "layers": [layer] * (times := rng.choice([1, 2, 5]))}
        within *= times
    name = rng.choice(["a", "\x01", "\U0001f600", '"', "\\"]) * rng.choice([1, 100, 60_000, 70_000])
    match rng.randrange(6):
        case 5:
            description["members"] = rng.choice([0, 1, 2, 3, 4, 4096, 4097, 2**62, -3, 2.0, "2", None])
            description["member"] = rng.choice([0, 1, 4095, 4096, 2**62, -1, None])
        case 0 | 1:
            at = rng.randrange(len(description["layers"]) + 1)
            description["layers"][at:at] = [layer] * max(1, rng.choice([1, 30, 300, 3000, 12_000]) // within)
        case 2:
            description["classes"] = [name + str(i) for i in range(rng.choice([2, 3, 20]))]
        case 3:
            description["feature_names"] = [name] * rng.choice([1, 2, 9])
        case _:
            for column in description.get("columns", []):
                column["name"] = name
                column["categories"] = [f"{name}{i}" for i in range(rng.choice([2, 3, 20]))]


def case(number: int, whole: list[Content]) -> bytes:
    """The content of the file of this number, made from one of the ``whole`` ones."""
    rng = random.Random(number)
    if rng.random() < 0.15:
        return damaged(
            rng, model_file.FORMAT, rng.choice(whole), version_of=model_file.version_of, harm=much_for_little
        )
    return damaged(rng, model_file.FORMAT, rng.choice(whole), version_of=model_file.version_of)


def outcome(path: Path) -> str:
    """The outcome of opening the file: "opened", "refused", or what went wrong."""

    def use() -> str:
        net = cr.load(path, device="cpu")
        with np.errstate(all="ignore"), contextlib.suppress(cr.DataError):  # rows that do not fit are refused
            net.predict(np.ones((2, net.n_in)))
        return "opened"

    return outcome_of(use, refusal=cr.ModelFileError, path=path)


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many were opened and refused, and what went wrong, by number."""
    path = folder / "model.safetensors"
    whole = []
    for net in nets():
        net.save(path)
        outcome(path)  # what is imported and made once is no one's fault
        assert outcome(path) == "opened"
        whole.append(sealed_file.read(path, model_file.FORMAT))
    tally = Tally("opened", "refused")
    for number in numbers:
        path.write_bytes(case(number, whole))
        said = outcome(path)
        tally.add(number, said)
    return tally.result()
