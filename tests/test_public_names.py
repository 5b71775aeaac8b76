"""The public names: exact, sorted as the linter sorts them, documented."""

from __future__ import annotations

import importlib.metadata
import inspect

import chainrule as cr

NAMES = (  # noqa: SIM905 - a list of thirty quoted names reads worse
    "AbsoluteError Activation Adam AdamW Backend BatchNorm Callback Categorical CategoryColumn ChainruleError "
    "Constant Cosine Coslog4 CustomActivation DataError Dense DeviceError Diagnosis DivergenceError Dropout "
    "EarlyStopping EpochRecord Exponential FlatCosine Focal Gamma GaussianNLL GradientError GuardError "
    "GuardedBackend History Huber JSONLinesLogger LBFGS LayerNorm MLP Metric ModelFileError Network NumberColumn "
    "OneCycle OptionError OutOfMemoryError ParameterGroup Plateau Poisson Preparation Quantile Residual Run SGD "
    "Schedule ShapeError SigmoidCrossEntropy SoftmaxCrossEntropy SquaredError Standardization StartRecord Step "
    "StepRecord Table TableEncoder TensorBoardLogger Trainer backend check_gradients load read_table "
).split()


def test_the_public_names_are_exactly_these():
    assert sorted(cr.__all__) == sorted(NAMES)
    assert all(hasattr(cr, name) for name in NAMES)


def test_every_public_name_and_method_is_documented():
    for name in NAMES:
        thing = getattr(cr, name)
        assert inspect.getdoc(thing), name
        if inspect.isclass(thing):
            for method, function in vars(thing).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    inherited = [getattr(base, method, None) for base in thing.__mro__]
                    assert any(inspect.getdoc(f) for f in inherited if f), f"{name}.{method}"


def test_every_error_is_a_chainrule_error():
    things = [getattr(cr, name) for name in NAMES]
    errors = [thing for thing in things if inspect.isclass(thing) and issubclass(thing, BaseException)]
    assert len(errors) == 10
    assert all(issubclass(error, cr.ChainruleError) for error in errors)


def test_the_version_is_that_of_the_installed_package():
    assert importlib.metadata.version("chainrule") == cr.__version__
