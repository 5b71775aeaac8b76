"""The public names: exact, sorted as the linter sorts them, documented."""

from __future__ import annotations

import ast
import dataclasses
import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule as cr

NAMES = (  # noqa: SIM905 - a list of thirty quoted names reads worse
    "AbsoluteError Activation Adam AdamW Backend BatchNorm Callback Categorical CategoryColumn ChainruleError "
    "Checkpoints CompiledLoopsWarning Concatenate Constant Cosine Coslog4 CrossValidation CustomActivation "
    "CustomLoss DataError Dense DeviceError Diagnosis DivergenceError Dropout EarlyStopping EmbeddedColumn "
    "Embedding EpochRecord Exponential FlatCosine Focal Gamma GaussianNLL GradientError GuardError GuardedBackend "
    "History Huber JSONLinesLogger LBFGS LayerNorm MLP Metric ModelFileError Moments Network NumberColumn "
    "OneCycle OptionError OutOfMemoryError ParameterGroup PiecewiseLinear Plateau Poisson Preparation Quantile "
    "Residual Run SGD Scale Schedule ShapeError SigmoidCrossEntropy SoftmaxCrossEntropy Split SquaredError "
    "Standardization Start StartRecord Step StepRecord Table TableEncoder TargetColumns TensorBoardLogger "
    "Trainer backend check_gradients cross_validate hold_out load make_folds read_table"
).split()


def test_the_public_names_are_exactly_these():
    assert sorted(cr.__all__) == sorted(NAMES)
    assert all(hasattr(cr, name) for name in NAMES)


def test_a_type_checker_sees_what_is_loaded_when_used():
    tree = ast.parse(Path(cr.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    homes = cr._HOME_OF | cr._OPTIONAL
    assert {name: home for name, home in seen.items() if name not in cr._OPTIONAL} == cr._HOME_OF
    assert seen.keys() <= homes.keys()
    assert set(cr.__all__) == cr._HOME_OF.keys()
    with pytest.raises(AttributeError, match="has no attribute 'Perceptron'"):
        _ = cr.Perceptron


def test_the_table_of_homes_is_sorted():
    assert list(cr._HOMES) == sorted(cr._HOMES)
    assert all(names.split() == sorted(names.split()) for names in cr._HOMES.values())


def test_dir_has_the_public_names_and_nothing_else():
    assert [name for name in dir(cr) if not name.startswith("__")] == sorted([*NAMES, "MLPClassifier", "MLPRegressor"])
    assert {"__version__", "__all__", "__doc__"} <= set(dir(cr))


def test_a_module_of_the_package_is_an_attribute_once_imported():
    code = "import chainrule.train.trainer as m, chainrule; assert chainrule.train.trainer is m"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_and_method_is_documented():
    for name in NAMES:
        thing = getattr(cr, name)
        assert inspect.getdoc(thing), name
        if inspect.isclass(thing):
            for method, function in vars(thing).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    inherited = [getattr(base, method, None) for base in thing.__mro__]
                    assert any(inspect.getdoc(f) for f in inherited if f), f"{name}.{method}"


def fields_declared_by(thing):
    """The fields of a record, without those that it inherits."""
    own = inspect.get_annotations(thing)
    if dataclasses.is_dataclass(thing):
        return [field.name for field in dataclasses.fields(thing) if field.name in own]
    return [name for name in getattr(thing, "_fields", ()) if name in own]


def fields_described_by(thing):
    """The names in the sections Parameters and Attributes of its docstring."""
    entries = re.findall(r"^(\w+(?:, \w+)*) : ", inspect.getdoc(thing), re.MULTILINE)
    return {name for entry in entries for name in entry.split(", ")}


@pytest.mark.parametrize("name", [name for name in NAMES if fields_declared_by(getattr(cr, name))])
def test_help_describes_every_field_of_a_record(name):
    """A comment behind a field is seen by those who read the source."""
    thing = getattr(cr, name)
    assert set(fields_declared_by(thing)) <= fields_described_by(thing)


def test_every_error_is_a_chainrule_error():
    things = [getattr(cr, name) for name in NAMES]
    errors = [thing for thing in things if inspect.isclass(thing) and issubclass(thing, BaseException)]
    assert len(errors) == 11
    assert all(issubclass(error, cr.ChainruleError | Warning) for error in errors)


def test_the_version_is_that_of_the_installed_package():
    assert importlib.metadata.version("chainrule") == cr.__version__
