"""One battery for all optimisers: each on the same functions, through the kernels of every backend."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule.arena import Arena, Layout
from chainrule.backends.contract.backend import BATCH, RUNNING
from chainrule.optim.base import Optimizer
from chainrule.optim.parameter_groups import Segment, segments


class Entry(NamedTuple):
    """An optimiser, and how many steps it may take to the bottom of the valley."""

    optimizer: Optimizer
    rosenbrock_steps: int


BATTERY = {
    "sgd": Entry(cr.SGD(lr=2e-3), 3000),
    "momentum": Entry(cr.SGD(lr=5e-4, momentum=0.9), 1500),
    "nesterov": Entry(cr.SGD(lr=5e-4, momentum=0.9, nesterov=True), 1500),
    "clipped": Entry(cr.SGD(lr=2e-3, momentum=0.9, clip_norm=1.0), 1500),
    "adam": Entry(cr.Adam(lr=0.05), 1000),
    "adam, other betas": Entry(cr.Adam(lr=0.05, beta1=0.8, beta2=0.99, eps=1e-6), 1000),
    "adamw": Entry(cr.AdamW(lr=0.05, weight_decay=1e-5), 1000),
}


SCHEDULES = [
    cr.Constant, cr.Cosine, cr.FlatCosine, cr.Coslog4, cr.Step, cr.Exponential, cr.OneCycle, cr.Plateau
]  # fmt: skip


class Descent:
    """An optimiser on the array ``x`` of an arena, its gradient computed on the host by a formula."""

    def __init__(
        self, backend: cr.Backend, optimizer: Optimizer, start: Any, *, dtype: str = "float64", name: str = "x"
    ) -> None:
        start = np.asarray(start, dtype)
        self.backend, self.name, self.dtype = backend, name, dtype
        layout = Layout({name: start.shape}, dtype)
        self.parameters, self.gradients = Arena(backend, layout), Arena(backend, layout)
        self.parameters.assign({name: start})
        self.optimizer = optimizer.bind(self.parameters, self.gradients)
        self.state = backend.upload(np.array([0, 0, RUNNING]))
        self.set_rates(optimizer.schedule.rates(0, 1, 1))

    def set_rates(self, rates: Any) -> None:
        self.lr = self.backend.upload(np.asarray(rates, np.float64))

    @property
    def x(self) -> np.ndarray:
        return self.parameters.download()[self.name]

    def step(self, gradient: Any) -> np.ndarray:
        self.gradients.assign({self.name: gradient})
        with self.backend.running():
            self.optimizer.step(self.lr, self.state)
            self.backend.tick(self.state)
        return self.x


@pytest.fixture(params=BATTERY)
def entry(request: pytest.FixtureRequest) -> Entry:
    return BATTERY[request.param]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_parabola(backend, entry, dtype):
    """f(x) = sum(a (x - bottom)^2) / 2, down to a hundredth of the start, with the dtype kept."""
    a, bottom = np.array([1.0, 3.0, 0.5]), np.array([2.0, -1.0, 0.1])
    descent = Descent(backend, entry.optimizer, [0.0, 0.0, 0.0], dtype=dtype)
    descent.set_rates([{cr.SGD: 0.1}.get(type(entry.optimizer), 0.05)])
    for _ in range(150):
        x = descent.step(a * (descent.x - bottom))
    assert x.dtype == np.dtype(dtype)
    assert all(arena.flat.dtype == np.dtype(dtype) for arena in descent.optimizer.moments.values())
    assert (a * (x - bottom) ** 2).sum() < 0.01 * (a * bottom**2).sum()


def test_rosenbrock(backend, entry):
    """f(x, y) = (1 - x)^2 + 100 (y - x^2)^2 from (-1, 1), along the valley to near (1, 1): from f = 4 below 0.04."""
    descent = Descent(backend, entry.optimizer, [-1.0, 1.0])
    x, y = descent.x
    for _ in range(entry.rosenbrock_steps):
        x, y = descent.step([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])
    assert (1 - x) ** 2 + 100 * (y - x * x) ** 2 < 0.04


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [None, 0.2])
def test_every_schedule_ends_in_the_valley(entry, schedule, warmup):
    """The parabola again, by each optimiser at the rates of each schedule, from a table that covers the run."""
    a, bottom = np.array([1.0, 3.0, 0.5]), np.array([2.0, -1.0, 0.1])
    lr = {cr.SGD: 0.1}.get(type(entry.optimizer), 0.1)
    descent = Descent(cr.backend("cpu"), entry.optimizer, [0.0, 0.0, 0.0])
    rates = schedule(lr) if warmup is None else schedule(lr, warmup=warmup)
    descent.set_rates(rates.rates(0, 200, 200))
    for _ in range(200):
        x = descent.step(a * (descent.x - bottom))
    assert (a * (x - bottom) ** 2).sum() < 0.01 * (a * bottom**2).sum()


def test_the_rate_of_a_batch_is_looked_up(backend, entry):
    """Rates 0, r, 0: batch 0 moves nothing, batch 1 does, batch 2 and whatever comes after it do not."""
    descent = Descent(backend, entry.optimizer, [1.0, -2.0])
    descent.set_rates([0.0, 0.1, 0.0])
    path = [descent.x] + [descent.step([1.0, 1.0]) for _ in range(5)]
    moved = [not np.array_equal(before, after) for before, after in itertools.pairwise(path)]
    assert moved == [False, True, False, False, False]


def test_batch_norm_statistics_of_a_halted_run_do_not_change(backend, entry):
    descent = Descent(backend, entry.optimizer, [1.0, -2.0])
    descent.step([1.0, 1.0])
    before = descent.x
    backend.assign([1, 1, 1], out=descent.state)
    for _ in range(3):
        np.testing.assert_array_equal(descent.step([np.nan, np.inf]), before)


def test_the_first_step_of_adam_is_the_learning_rate(backend):
    """m_hat = g and v_hat = g^2 at t = 1, whatever the size of g: a check of both bias corrections."""
    descent = Descent(backend, cr.Adam(lr=0.125, eps=1e-30), [1.0, 1.0, 1.0])
    np.testing.assert_allclose(descent.step([1e-6, -3.0, 1e5]), [0.875, 1.125, 0.875], rtol=1e-13)


def test_clip_norm_is_the_norm_of_all_arrays_together(backend):
    descent = Descent(backend, cr.SGD(lr=1.0, clip_norm=1.0), np.zeros((2, 2)))
    np.testing.assert_allclose(descent.step([[3.0, 0.0], [0.0, -4.0]]), [[-0.6, 0.0], [0.0, 0.8]], rtol=1e-13)
    np.testing.assert_allclose(descent.step([[0.3, 0.0], [0.0, -0.4]]), [[-0.9, 0.0], [0.0, 1.2]], rtol=1e-13)


# ---- parameter groups -----------------------------------------------------------------------------

LAYOUT = Layout(
    {"dense0.W": (20,), "dense1.W": (20,), "dense0.b": (3,), "dense1.b": (3,)}, np.float64
)  # slots of 24, 8


def cut(*groups: cr.ParameterGroup, decay: float = 0.5) -> list[Segment]:
    return segments(LAYOUT, groups, decay)


def test_weight_decay_spares_biases_unless_asked():
    assert cut() == [Segment(slice(0, 48), 1.0, 0.5), Segment(slice(48, 64), 1.0, 0.0)]
    assert cut(cr.ParameterGroup("*")) == [Segment(slice(0, 64), 1.0, 0.5)]
    assert cut(decay=0.0) == [Segment(slice(0, 64), 1.0, 0.0)]


def test_the_first_parameter_group_that_matches_decides():
    frozen, slow = cr.ParameterGroup("dense0.*", lr_factor=0.0), cr.ParameterGroup("*.W", 0.1, 3.0)
    assert cut(frozen, slow) == [
        Segment(slice(0, 24), 0.0, 0.5), Segment(slice(24, 48), 0.1, 1.5), Segment(slice(48, 56), 0.0, 0.5),
        Segment(slice(56, 64), 1.0, 0.0),
    ]  # fmt: skip
    assert cut(slow, frozen)[0] == Segment(slice(0, 48), 0.1, 1.5)


def test_weight_decay_spares_gains_and_running_statistics():
    """Gains and biases are not decayed; what the forward pass keeps is never part of a segment, nor joined across."""
    names = ["dense0.W", "dense0.b", "layer_norm0.gain", "layer_norm0.bias", "batch_norm0.running_mean",
             "batch_norm0.running_var"]  # fmt: skip
    layout = Layout(dict.fromkeys(names, (8,)), np.float64)
    assert segments(layout, (), 0.5) == [Segment(slice(0, 8), 1.0, 0.5), Segment(slice(8, 32), 1.0, 0.0)]
    everything = cr.ParameterGroup("*", lr_factor=2.0)
    assert segments(layout, [everything], 0.5) == [Segment(slice(0, 32), 2.0, 0.5)]
    between = Layout(dict.fromkeys(["a.W", "n.running_var", "b.W"], (8,)), np.float64)
    assert segments(between, (), 0.5) == [Segment(slice(0, 8), 1.0, 0.5), Segment(slice(16, 24), 1.0, 0.5)]


def test_a_learning_rate_by_fan_in_is_divided_by_the_root_of_the_inputs_of_each_w():
    """And neighbours of equal factors stay one kernel: three W of their own, all factors, all biases."""
    layers = [cr.Scale(), cr.Concatenate([cr.Dense(6, "selu"), cr.Dense(4, "selu")]), cr.Dense(2)]
    layout = cr.Network(layers, 16).parameter_arena.layout
    by_fan_in, factors = cr.ParameterGroup("*", 2.0, by_fan_in=True), cr.ParameterGroup("*.s", 6.0, 0.0)
    found = segments(layout, [factors, cr.ParameterGroup("*.b", 0.1, 0.0), by_fan_in], 0.5)
    rates = [(segment.lr_factor, segment.weight_decay) for segment in found]
    assert rates == [(2 / 4, 0.5), (2 / 6**0.5, 0.5), (2 / 20**0.5, 0.5), (6.0, 0.0), (0.1, 0.0)]
    assert segments(layout, [by_fan_in], 0.0)[-1].lr_factor == 2.0  # what is no W has no inputs


def test_a_group_of_rows_of_w_has_a_rate_of_its_own():
    layout = cr.Network([cr.Dense(3)], 10).parameter_arena.layout  # W (10, 3) in an extent of 32
    line = cr.ParameterGroup("*.W", 0.1, 0.0, rows=(2, 6))
    assert segments(layout, [line], 0.5) == [
        Segment(slice(0, 6), 1.0, 0.5), Segment(slice(6, 18), 0.1, 0.0), Segment(slice(18, 32), 1.0, 0.5),
        Segment(slice(32, 48), 1.0, 0.0),
    ]  # fmt: skip
    everything = cr.ParameterGroup("*", 2.0)
    assert segments(layout, [cr.ParameterGroup("*", rows=(0, 99)), everything], 0.0) == [
        Segment(slice(0, 32), 1.0, 0.0), Segment(slice(32, 48), 2.0, 0.0)
    ]  # fmt: skip


def test_a_group_of_members_has_rates_of_its_own():
    layout = cr.MLP([4, 2]).parameter_arena.layout
    frozen = cr.ParameterGroup("*.W", 0.0, members=(6, 9))
    found = segments(layout, [frozen], 0.0, members=range(4, 8))
    W, b = slice(0, 16), slice(16, 32)
    others, own = slice(0, 2), slice(2, 4)
    whole = Segment(slice(0, 32), 1.0, 0.0, others)
    assert found == [whole, Segment(W, 0.0, 0.0, own, is_fixed=True), Segment(b, 1.0, 0.0, own)]
    assert segments(layout, [frozen], 0.0, members=range(1)) == [Segment(slice(0, 32), 1.0, 0.0)]
    assert segments(layout, [frozen], 0.0, members=range(7, 8))[0] == Segment(W, 0.0, 0.0, is_fixed=True)


def test_what_all_members_of_an_ensemble_share_is_one_segment():
    layout = cr.MLP([4, 3, 2]).parameter_arena.layout
    groups = [cr.ParameterGroup("dense0.W", 0.5, members=(2, 4)), cr.ParameterGroup("*.b", 0.1, 0.0)]
    found = segments(layout, groups, 0.0, members=range(4))
    first, second = layout.slots["dense0.W"], layout.slots["dense1.W"]
    W0, W1 = slice(first.start, second.start), slice(second.start, second.start + second.extent)
    assert [s for s in found if s.members is None] == [Segment(slice(W1.stop, layout.size), 0.1, 0.0)]
    apart = [s for s in found if s.members is not None]
    assert apart[0] == Segment(slice(0, W1.stop), 1.0, 0.0, slice(0, 2))
    assert apart[1:] == [Segment(W0, 0.5, 0.0, slice(2, 4)), Segment(W1, 1.0, 0.0, slice(2, 4))]


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_what_is_frozen_in_some_members_is_not_updated_and_its_gradients_are_not_asked_for(clip_norm):
    net = cr.MLP([4, 2], members=2, loss="squared_error")
    optimizer = cr.Adam(clip_norm=clip_norm, groups=[cr.ParameterGroup("*.W", 0.0, members=(1, 2))])
    bound = optimizer.bind(net.parameter_arena, net.gradient_arena)
    net.gradient_arena.flat[:] = 1.0
    before = net.parameter_arena.download()
    bound.step(np.array([0.1]), np.array([0, 0, -1]))
    after, m = net.parameter_arena.download(), bound.moments["m"].download()
    assert (after["dense0.W"][1] == before["dense0.W"][1]).all()
    assert (after["dense0.W"][0] != before["dense0.W"][0]).all()
    assert (after["dense0.b"] != before["dense0.b"]).all()
    assert not m["dense0.W"][1].any()
    assert m["dense0.W"][0].all()
    assert len(bound.fixed) == (clip_norm is None)


@pytest.mark.parametrize("rows", [(3, 3), (-1, 2), (0.5, 2)])
def test_rows_of_a_parameter_group_are_a_stretch(rows):
    with pytest.raises(cr.OptionError, match="rows"):
        cr.ParameterGroup("*.W", rows=rows)


def test_factors_of_columns_are_not_decayed_unless_asked():
    layout = cr.Network([cr.Scale(), cr.Dense(2)], 16).parameter_arena.layout
    assert [segment.weight_decay for segment in segments(layout, (), 0.5)] == [0.5, 0.0]


@pytest.mark.parametrize("by_fan_in", [1, "yes", None])
def test_by_fan_in_of_a_parameter_group_is_yes_or_no(by_fan_in):
    with pytest.raises(cr.OptionError, match="by_fan_in: expected True or False"):
        cr.ParameterGroup("*.W", by_fan_in=by_fan_in)


@pytest.mark.parametrize("pattern", ["DENSE0.W", "dense0", "dense?"])
def test_a_parameter_group_pattern_matches_the_whole_name_and_its_case(pattern):
    with pytest.raises(cr.OptionError, match="groups: expected a pattern that matches a parameter, got") as error:
        cut(cr.ParameterGroup("*.b"), cr.ParameterGroup(pattern, lr_factor=0.0))
    assert error.value.hint == "the parameters are dense0.W, dense1.W, dense0.b, dense1.b"


def test_a_parameter_group_that_matches_no_parameter_is_refused_by_fit():
    for optimizer in (
        cr.Adam(groups=[cr.ParameterGroup("dense9.*")]),
        cr.LBFGS(groups=[cr.ParameterGroup("dense9.*")]),
    ):
        with pytest.raises(cr.OptionError, match=r"groups: expected .* got 'dense9.\*'"):
            cr.Trainer(cr.MLP([4, 2]), optimizer).fit(np.ones((6, 4)), [0, 1] * 3)


@pytest.mark.parametrize("factory", [cr.SGD, cr.Adam, cr.AdamW])
def test_parameter_group_factors_act_on_learning_rate_and_weight_decay(backend, factory):
    """A gradient of 0 leaves the decay alone: twice the rate, or twice the decay, shrinks x by twice as much."""

    def shrunk(**factors: float) -> float:
        groups = [cr.ParameterGroup("x", **factors)]
        descent = Descent(backend, factory(lr=0.01, weight_decay=0.1, groups=groups), [1.0])
        return float(1 - descent.step([0.0])[0])

    once = shrunk()
    if factory is cr.Adam:  # a decay within the gradient is normalised with it: its size does not matter
        assert once == pytest.approx(0.01, rel=1e-6)
        assert shrunk(decay_factor=2.0) == pytest.approx(once, rel=1e-6)
    else:
        assert once == pytest.approx(0.01 * 0.1, rel=1e-12)
        assert shrunk(decay_factor=2.0) == pytest.approx(2 * once, rel=1e-12)
    assert shrunk(lr_factor=2.0) == pytest.approx(2 * once, rel=1e-12)
    assert shrunk(lr_factor=0.0) == shrunk(decay_factor=0.0) == 0.0


def test_moments_start_at_zero_with_every_binding(backend):
    layout = Layout({"x": (2,)}, np.float64)
    parameters, gradients = Arena(backend, layout), Arena(backend, layout)
    optimizer = cr.Adam()
    for _ in range(2):
        bound = optimizer.bind(parameters, gradients)
        assert set(bound.moments) == {"m", "v"}
        for moment in bound.moments.values():
            np.testing.assert_array_equal(moment.download()["x"], [0, 0])
            backend.fill(3.0, out=moment.flat)


def test_sgd_without_momentum_keeps_no_velocity(backend):
    layout = Layout({"x": (2,)}, np.float64)
    arena = Arena(backend, layout)
    assert not cr.SGD().bind(arena, arena).moments
    assert set(cr.SGD(momentum=0.5).bind(arena, arena).moments) == {"velocity"}


# ---- options --------------------------------------------------------------------------------------

WRONG = [
    (lambda: cr.SGD(lr=0.0), r"lr: expected .*, got 0"),
    (lambda: cr.SGD(lr=float("nan")), r"lr: expected .*, got nan"),
    (lambda: cr.SGD(momentum=1.0), "momentum: expected a finite number from 0 to below 1"),
    (lambda: cr.SGD(momentum=-0.1), r"momentum: expected .*, got -0.1"),
    (lambda: cr.SGD(nesterov=True), "nesterov: expected a momentum above 0"),
    (lambda: cr.SGD(weight_decay=-1.0), r"weight_decay: expected .*, got -1.0"),
    (lambda: cr.SGD(clip_norm=0.0), r"clip_norm: expected .*, got 0.0"),
    (lambda: cr.Adam(lr=-1.0), r"lr: expected .*, got -1.0"),
    (lambda: cr.Adam(lr=float("inf")), r"lr: expected .*, got inf"),
    (lambda: cr.Adam(beta1=1.0), r"beta1: expected .*, got 1.0"),
    (lambda: cr.Adam(beta2=float("nan")), r"beta2: expected .*, got nan"),
    (lambda: cr.Adam(eps=0.0), r"eps: expected .*, got 0.0"),
    (lambda: cr.AdamW(weight_decay=float("nan")), r"weight_decay: expected .*, got nan"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_options(make, message):
    with pytest.raises(cr.OptionError, match=message):
        make()


def test_options_have_the_usual_defaults():
    assert (cr.SGD().lr, cr.SGD(0.5).lr, cr.Adam().lr, cr.Adam(0.5).lr) == (1e-2, 0.5, 1e-3, 0.5)
    assert (cr.Adam().weight_decay, cr.AdamW().weight_decay) == (0.0, 1e-2)
    assert (cr.Adam().beta1, cr.Adam().beta2, cr.Adam().eps) == (0.9, 0.999, 1e-8)


def test_the_state_says_which_batch(backend):
    """The rate of batch 2 while the step is 7: the number within the epoch counts, not the step."""
    descent = Descent(backend, cr.SGD(), [0.0])
    descent.set_rates([0.0, 0.0, 1.0, 0.0])
    state = [7, 0, RUNNING]
    state[BATCH] = 2
    backend.assign(state, out=descent.state)
    np.testing.assert_array_equal(descent.step([1.0]), [-1.0])
