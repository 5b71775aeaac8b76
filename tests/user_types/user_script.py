"""A user's script as a type checker sees it: read by mypy (scripts/check), never run.

``assert_type`` holds that a public name is its class and not Any; an unused ``type: ignore`` is an error, so the
lines with one hold that mistakes are found.
"""

from __future__ import annotations

from typing import assert_type

import numpy as np

import chainrule as cr

X = np.zeros((8, 4), np.float32)
y = np.zeros(8, np.int64)

backend = cr.backend("auto")
assert_type(backend, cr.Backend)

net = cr.MLP([4, 16, 3], activation="relu", loss=cr.SoftmaxCrossEntropy(label_smoothing=0.1), backend=backend)
assert_type(net, cr.MLP)
layers = [cr.Dense(16, "gelu"), cr.LayerNorm(), cr.Residual([cr.Dense(16)]), cr.Dropout(0.1), cr.Dense(1)]
regression = cr.Network(layers, 4, loss=cr.Huber(delta=2.0))
assert_type(regression, cr.Network)
assert_type(cr.MLP([4, 8, 3], loss=cr.Quantile([0.1, 0.5, 0.9])), cr.MLP)

optimizer = cr.AdamW(lr=cr.Cosine(1e-3, warmup=0.1), groups=[cr.ParameterGroup("dense0.*", lr_factor=0.1)])
assert_type(optimizer, cr.AdamW)


class Stop(cr.Callback):
    def on_epoch_end(self, record: cr.EpochRecord) -> None:
        assert_type(record.net, cr.Network)
        if record.metrics["loss"] < 0.1:
            record.stop()


trainer = cr.Trainer(net, optimizer, epochs=3, early_stopping=cr.EarlyStopping(patience=2), callbacks=[Stop()])
assert_type(trainer, cr.Trainer)
assert_type(trainer.epochs, int)
trainer.epochs = "3"  # type: ignore[assignment]
print(trainer.epoch)  # type: ignore[attr-defined]
run = trainer.fit(X, y, validation=0.2)
assert_type(run, cr.Run)
assert_type(run.history, cr.History)
assert_type(run.history["valid_loss"], list[float])
assert_type(run.diagnosis, cr.Diagnosis | None)

net.save("model.safetensors")
loaded = cr.load("model.safetensors", device="cpu")
assert_type(loaded, cr.Network)

table = cr.read_table("flowers.csv", target="kind")
assert_type(table, cr.Table)
encoder = cr.TableEncoder.fit(table.columns)
assert_type(encoder, cr.TableEncoder)
split = cr.hold_out(100, 0.2, seed=0)
assert_type(split, cr.Split)
assert_type(cr.make_folds(100, 5), list[cr.Split])

classifier = cr.MLPClassifier(hidden_layer_sizes=(16,), max_iter=5)
assert_type(classifier, cr.MLPClassifier)
assert_type(classifier.network_, cr.Network)

try:
    cr.check_gradients(net, X, y)
except cr.GradientError as error:
    assert_type(error.hint, str)

_ = cr.Perceptron  # type: ignore[attr-defined]
cr.MLP("wide")  # type: ignore[arg-type]
cr.Trainer(net, epochs="many")  # type: ignore[arg-type]
