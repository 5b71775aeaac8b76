"""``validation=0.2`` keeps a row of each class for training, resident and streamed, and changes nothing else."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.feeding.batches import split_order
from chainrule.train.feeding.fit_data import FitData
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.settings import TrainingSettings

X = np.random.default_rng(0).normal(size=(60, 3))
Y = np.r_[np.zeros(30, int), np.ones(29, int), 2]


def net_of(n_out: int, loss: str = "softmax_cross_entropy") -> cr.Network:
    return cr.MLP([3, 4, n_out], loss=loss, backend=cr.backend("cpu"), dtype="float64")


def parts(y, seed: int, stream: bool, net: cr.Network):
    if stream:
        training, held_out = HostRows(net, X, y).split(0.2, seed)
        return training.targets, net.backend.download(held_out.targets)
    data = FitData(net, TrainingSettings(seed=seed, stream=False), X, y, validation=0.2)
    return [net.backend.download(rows.targets) for rows in data.rows()]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_a_validation_fraction_keeps_a_class_of_one_row_in_training(loss, stream):
    y = Y if loss.startswith("softmax") else (Y == 2).astype(float)
    net = net_of(3 if loss.startswith("softmax") else 1, loss)
    for seed in range(20):
        training, held_out = parts(y, seed, stream, net)
        assert (len(training), len(held_out)) == (48, 12)
        assert set(training.reshape(-1)) == set(y)


@pytest.mark.parametrize("stream", [False, True])
def test_a_validation_fraction_without_rare_classes_is_a_random_split(stream):
    net, y = net_of(2), np.arange(60) % 2
    for seed in range(5):
        training, held_out = (net.backend.download(part) for part in split_order(net.backend, 60, 0.2, seed))
        np.testing.assert_array_equal(parts(y, seed, stream, net)[0].reshape(-1), y[training])
        np.testing.assert_array_equal(parts(y, seed, stream, net)[1].reshape(-1), y[held_out])


def test_a_validation_fraction_of_numbers_has_no_classes():
    net = net_of(1, "squared_error")
    y = np.arange(60.0)
    assert sorted(np.concatenate(parts(y, 1, False, net)).reshape(-1)) == y.tolist()
