"""The contract in fused kernels and planned products: what the CUDA body computes, without the device.

Each topic stands in a file beside its CUDA source. Where there is no fused kernel for what came (complex numbers, a
model axis), the reference answers, outside a recorded step.
"""

from __future__ import annotations

from chainrule.backends.cupy.batches import Batches
from chainrule.backends.cupy.custom import Custom
from chainrule.backends.cupy.embedding import Embeddings
from chainrule.backends.cupy.layers import Layers
from chainrule.backends.cupy.normalization import Normalization
from chainrule.backends.cupy.optimisers import Optimisers
from chainrule.backends.cupy.random import RandomNumbers
from chainrule.backends.cupy.target_losses import TargetLosses


class FusedBackend(Layers, TargetLosses, Normalization, Embeddings, Batches, Optimisers, RandomNumbers, Custom):
    """All topics together."""
