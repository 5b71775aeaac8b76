"""A fit that is stopped: by Ctrl-C, by `Trainer.stop` from a callback or a thread, by an error."""

from __future__ import annotations

import threading

import pytest
from tests.train.fits import evaluate, make_net, weights

import chainrule as cr


def test_callbacks_are_called_every_epoch(classes):
    records: list[cr.EpochRecord] = []
    net = make_net(classes)
    trainer = cr.Trainer(net, epochs=3, callbacks=[records.append, print])
    run = trainer.fit(classes.X, classes.y, validation=classes.valid)
    assert [(r.epoch, r.epochs, r.net) for r in records] == [(e, 3, net) for e in (1, 2, 3)]
    for i, record in enumerate(records):
        assert record.metrics == {name: values[i] for name, values in run.history.items()}


@pytest.mark.parametrize("how", ["ctrl-c", "stop"])
@pytest.mark.parametrize("validated", [True, False])
def test_an_interrupted_fit_returns_its_run_so_far(backend, classes, how, validated):
    net = make_net(classes, backend)

    def interrupt(record: cr.EpochRecord) -> None:
        if record.epoch == 4:
            if how == "ctrl-c":
                raise KeyboardInterrupt
            trainer.stop()

    trainer = cr.Trainer(net, cr.SGD(lr=0.5, momentum=0.9), batch_size=7, epochs=50, callbacks=[interrupt])
    validation = classes.valid if validated else None
    run = trainer.fit(classes.X, classes.y, validation=validation)
    assert run.stopped == "interrupted"
    assert run.history.epochs == 4
    assert run.steps == 4 * 6
    if validated:
        assert evaluate(net, classes.valid)["loss"] == min(run.history["valid_loss"])
        assert run.history["valid_loss"][run.best_epoch - 1] == min(run.history["valid_loss"])
    else:
        shorter = make_net(classes, backend)
        cr.Trainer(shorter, trainer.optimizer, batch_size=7, epochs=4).fit(classes.X, classes.y)
        assert weights(net) == weights(shorter)
    trainer.callbacks, trainer.epochs = (), 1
    assert trainer.fit(classes.X, classes.y).stopped == "completed", "the request to stop is over with its fit"


def test_stop_from_another_thread(classes):
    reached = threading.Event()
    trainer = cr.Trainer(
        make_net(classes), batch_size=1, epochs=100_000, metrics=False, callbacks=[lambda _: reached.set()]
    )

    def stop() -> None:
        reached.wait(30)
        trainer.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    run = trainer.fit(classes.X, classes.y)
    thread.join()
    assert run.stopped == "interrupted"
    assert run.history.epochs < 100_000


def test_an_error_of_a_callback_is_raised(classes):
    def fail(record: cr.EpochRecord) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        cr.Trainer(make_net(classes), callbacks=[fail]).fit(classes.X, classes.y)
