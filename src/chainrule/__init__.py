"""chainrule trains multilayer perceptrons on plain arrays: NumPy on the CPU, CuPy on a CUDA GPU.

Every gradient is written out by hand, once, and both devices are proven to agree::

    import chainrule as cr

    net = cr.MLP([64, 256, 128, 10], backend=cr.backend("auto"), seed=0)
    run = cr.Trainer(net, cr.Adam(lr=1e-3), epochs=30).fit(X, y, validation=0.2)
    net.save("model.safetensors")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from chainrule.backends import backend
    from chainrule.backends.base import Backend
    from chainrule.backends.guarded import GuardedBackend
    from chainrule.errors import (
        ChainruleError,
        CompiledLoopsWarning,
        DataError,
        DeviceError,
        DivergenceError,
        GradientError,
        GuardError,
        ModelFileError,
        OptionError,
        OutOfMemoryError,
        ShapeError,
    )
    from chainrule.nn.activation import Activation
    from chainrule.nn.category_columns import CategoryColumn, EmbeddedColumn
    from chainrule.nn.column_data import Categorical
    from chainrule.nn.custom import CustomActivation
    from chainrule.nn.custom_loss import CustomLoss
    from chainrule.nn.dense import Dense
    from chainrule.nn.dropout import Dropout
    from chainrule.nn.embedding import Embedding
    from chainrule.nn.losses import (
        AbsoluteError,
        Focal,
        Gamma,
        GaussianNLL,
        Huber,
        Poisson,
        Quantile,
        SigmoidCrossEntropy,
        SoftmaxCrossEntropy,
        SquaredError,
    )
    from chainrule.nn.mlp import MLP
    from chainrule.nn.network import Network
    from chainrule.nn.normalization import BatchNorm, LayerNorm
    from chainrule.nn.number_column import NumberColumn
    from chainrule.nn.preparation import Preparation
    from chainrule.nn.residual import Residual
    from chainrule.nn.saved import load
    from chainrule.nn.standardization import Standardization
    from chainrule.nn.table_encoder import TableEncoder
    from chainrule.optim.adam import Adam, AdamW
    from chainrule.optim.base import Moments, ParameterGroup
    from chainrule.optim.lbfgs import LBFGS
    from chainrule.optim.schedules import (
        Constant,
        Cosine,
        Coslog4,
        Exponential,
        FlatCosine,
        OneCycle,
        Plateau,
        Schedule,
        Step,
    )
    from chainrule.optim.sgd import SGD
    from chainrule.tables.readers import read_table
    from chainrule.tables.splits import Split, hold_out, make_folds
    from chainrule.tables.table import Table
    from chainrule.train.callbacks import Callback
    from chainrule.train.checkpoints import Checkpoints
    from chainrule.train.cross_validation import CrossValidation, cross_validate
    from chainrule.train.diagnosis import Diagnosis
    from chainrule.train.early_stopping import EarlyStopping
    from chainrule.train.history import History
    from chainrule.train.loggers import JSONLinesLogger
    from chainrule.train.run import StartRecord, StepRecord
    from chainrule.train.tensorboard import TensorBoardLogger
    from chainrule.train.trainer import EpochRecord, Run, Trainer
    from chainrule.train.valid_metrics import Metric
    from chainrule.verify.gradients import check_gradients

__version__ = "0.1.0"

# Where each name lives. A module is loaded with the first use of a name in it: who predicts pays for no training loop.
_HOMES: Final = {
    "chainrule.backends": "backend",
    "chainrule.backends.base": "Backend",
    "chainrule.backends.guarded": "GuardedBackend",
    "chainrule.errors": (
        "ChainruleError CompiledLoopsWarning DataError DeviceError DivergenceError GradientError GuardError "
        "ModelFileError OptionError OutOfMemoryError ShapeError"
    ),
    "chainrule.nn.activation": "Activation",
    "chainrule.nn.category_columns": "CategoryColumn EmbeddedColumn",
    "chainrule.nn.column_data": "Categorical",
    "chainrule.nn.custom": "CustomActivation",
    "chainrule.nn.custom_loss": "CustomLoss",
    "chainrule.nn.dense": "Dense",
    "chainrule.nn.dropout": "Dropout",
    "chainrule.nn.embedding": "Embedding",
    "chainrule.nn.losses": (
        "AbsoluteError Focal Gamma GaussianNLL Huber Poisson Quantile SigmoidCrossEntropy "
        "SoftmaxCrossEntropy SquaredError"
    ),
    "chainrule.nn.mlp": "MLP",
    "chainrule.nn.network": "Network",
    "chainrule.nn.normalization": "BatchNorm LayerNorm",
    "chainrule.nn.number_column": "NumberColumn",
    "chainrule.nn.preparation": "Preparation",
    "chainrule.nn.standardization": "Standardization",
    "chainrule.nn.residual": "Residual",
    "chainrule.nn.saved": "load",
    "chainrule.nn.table_encoder": "TableEncoder",
    "chainrule.optim.adam": "Adam AdamW",
    "chainrule.optim.base": "Moments ParameterGroup",
    "chainrule.optim.lbfgs": "LBFGS",
    "chainrule.optim.schedules": "Constant Cosine Coslog4 Exponential FlatCosine OneCycle Plateau Schedule Step",
    "chainrule.optim.sgd": "SGD",
    "chainrule.tables.readers": "read_table",
    "chainrule.tables.splits": "Split hold_out make_folds",
    "chainrule.tables.table": "Table",
    "chainrule.train.callbacks": "Callback",
    "chainrule.train.checkpoints": "Checkpoints",
    "chainrule.train.cross_validation": "CrossValidation cross_validate",
    "chainrule.train.diagnosis": "Diagnosis",
    "chainrule.train.early_stopping": "EarlyStopping",
    "chainrule.train.history": "History",
    "chainrule.train.loggers": "JSONLinesLogger",
    "chainrule.train.run": "StartRecord StepRecord",
    "chainrule.train.tensorboard": "TensorBoardLogger",
    "chainrule.train.trainer": "EpochRecord Run Trainer",
    "chainrule.train.valid_metrics": "Metric",
    "chainrule.verify.gradients": "check_gradients",
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "LBFGS",
    "MLP",
    "SGD",
    "AbsoluteError",
    "Activation",
    "Adam",
    "AdamW",
    "Backend",
    "BatchNorm",
    "Callback",
    "Categorical",
    "CategoryColumn",
    "ChainruleError",
    "Checkpoints",
    "CompiledLoopsWarning",
    "Constant",
    "Cosine",
    "Coslog4",
    "CrossValidation",
    "CustomActivation",
    "CustomLoss",
    "DataError",
    "Dense",
    "DeviceError",
    "Diagnosis",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "EmbeddedColumn",
    "Embedding",
    "EpochRecord",
    "Exponential",
    "FlatCosine",
    "Focal",
    "Gamma",
    "GaussianNLL",
    "GradientError",
    "GuardError",
    "GuardedBackend",
    "History",
    "Huber",
    "JSONLinesLogger",
    "LayerNorm",
    "Metric",
    "ModelFileError",
    "Moments",
    "Network",
    "NumberColumn",
    "OneCycle",
    "OptionError",
    "OutOfMemoryError",
    "ParameterGroup",
    "Plateau",
    "Poisson",
    "Preparation",
    "Quantile",
    "Residual",
    "Run",
    "Schedule",
    "ShapeError",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "Split",
    "SquaredError",
    "Standardization",
    "StartRecord",
    "Step",
    "StepRecord",
    "Table",
    "TableEncoder",
    "TensorBoardLogger",
    "Trainer",
    "backend",
    "check_gradients",
    "cross_validate",
    "hold_out",
    "load",
    "make_folds",
    "read_table",
]


# Not in __all__: they need scikit-learn, which may be absent.
_OPTIONAL: Final = {"MLPClassifier": "chainrule.estimators", "MLPRegressor": "chainrule.estimators"}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name) or _OPTIONAL.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(globals().keys() | _HOME_OF.keys() | _OPTIONAL.keys())
