"""chainrule trains multilayer perceptrons on plain arrays: NumPy on the CPU, CuPy on a CUDA GPU.

Every gradient is written out by hand, once, and both devices are proven to agree::

    import chainrule as cr

    net = cr.MLP([64, 256, 128, 10], backend=cr.backend("auto"), seed=0)
    run = cr.Trainer(net, cr.Adam(lr=1e-3), epochs=30).fit(X, y, validation=0.2)
    net.save("model.safetensors")
"""

from typing import TYPE_CHECKING, Any

from chainrule.backends import backend
from chainrule.backends.base import Backend
from chainrule.backends.guarded import GuardedBackend
from chainrule.errors import (
    ChainruleError,
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
from chainrule.nn.custom import CustomActivation
from chainrule.nn.dense import Dense
from chainrule.nn.dropout import Dropout
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
from chainrule.nn.preparation import Preparation, Standardization
from chainrule.nn.residual import Residual
from chainrule.nn.saved import load
from chainrule.nn.table_columns import Categorical, CategoryColumn, NumberColumn
from chainrule.nn.table_encoder import TableEncoder
from chainrule.optim.adam import Adam, AdamW
from chainrule.optim.base import ParameterGroup
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
from chainrule.train.callbacks import Callback
from chainrule.train.diagnosis import Diagnosis
from chainrule.train.early_stopping import EarlyStopping
from chainrule.train.history import History
from chainrule.train.loggers import JSONLinesLogger
from chainrule.train.run import StartRecord, StepRecord
from chainrule.train.tensorboard import TensorBoardLogger
from chainrule.train.trainer import EpochRecord, Run, Trainer
from chainrule.train.valid_metrics import Metric
from chainrule.verify.gradients import check_gradients

if TYPE_CHECKING:
    from chainrule.tables.readers import read_table
    from chainrule.tables.table import Table

__version__ = "0.1.0"

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
    "Constant",
    "Cosine",
    "Coslog4",
    "CustomActivation",
    "DataError",
    "Dense",
    "DeviceError",
    "Diagnosis",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
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
    "load",
    "read_table",
]


def __getattr__(name: str) -> Any:
    """Readers of tables are imported once they are asked for: whoever trains on arrays need not wait for them."""
    if name == "read_table":
        from chainrule.tables.readers import read_table

        return read_table
    if name == "Table":
        from chainrule.tables.table import Table

        return Table
    raise AttributeError(f"module 'chainrule' has no attribute {name!r}")
