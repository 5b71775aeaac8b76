"""chainrule trains multilayer perceptrons on plain arrays: NumPy on the CPU, CuPy on a CUDA GPU.

Every gradient is written out by hand, once, and both devices are proven to agree::

    import chainrule as cr

    net = cr.MLP([64, 256, 128, 10], backend=cr.backend("auto"), seed=0)
    run = cr.Trainer(net, cr.Adam(lr=1e-3), epochs=30).fit(X, y, validation=0.2)
    net.save("model.safetensors")
"""

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
    ShapeError,
)
from chainrule.nn.dense import Dense
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
from chainrule.nn.network import MLP, Network
from chainrule.nn.preparation import Preparation, Standardization
from chainrule.nn.saved import load
from chainrule.optim.adam import Adam, AdamW
from chainrule.optim.base import ParameterGroup
from chainrule.optim.schedules import Constant, Cosine
from chainrule.optim.sgd import SGD
from chainrule.train.early_stopping import EarlyStopping
from chainrule.train.history import History
from chainrule.train.trainer import EpochRecord, Run, Trainer
from chainrule.verify.gradients import check_gradients

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "SGD",
    "AbsoluteError",
    "Adam",
    "AdamW",
    "Backend",
    "ChainruleError",
    "Constant",
    "Cosine",
    "DataError",
    "Dense",
    "DeviceError",
    "DivergenceError",
    "EarlyStopping",
    "EpochRecord",
    "Focal",
    "Gamma",
    "GaussianNLL",
    "GradientError",
    "GuardError",
    "GuardedBackend",
    "History",
    "Huber",
    "ModelFileError",
    "Network",
    "OptionError",
    "ParameterGroup",
    "Poisson",
    "Preparation",
    "Quantile",
    "Run",
    "ShapeError",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "SquaredError",
    "Standardization",
    "Trainer",
    "backend",
    "check_gradients",
    "load",
]
