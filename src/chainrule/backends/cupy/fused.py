"""The contract in fused kernels and planned products: what a CUDA device computes, without the device.

Each operation is a function of the backend, in the file of its topic; its kernels are in the CUDA source beside it. An
operation whose kernels do not know the given arguments (complex numbers, say) falls back to the reference
implementation, outside a recorded step: see :mod:`~chainrule.backends.cupy.fallback`. What is not listed here
(``copy_columns``, ``scale_and_shift``, ``first_nonfinite``, ``scaled_dense``, ``encoded_dense`` and the
gradients of these two) is the reference's.
"""

from __future__ import annotations

from chainrule.backends.cupy import (
    batch_normalization,
    batches,
    columns,
    custom,
    embedding,
    ensembles,
    layer_normalization,
    layers,
    losses,
    optimisers,
    piecewise,
    predictions,
    random,
    target_losses,
)
from chainrule.backends.cupy.capture.launcher import Launcher


class FusedBackend(Launcher):
    """All operations, by topic. Starting a launch is left to the device and to its emulation."""

    fuses = frozenset()  # factors and encodings have kernels of their own

    # layers.py, layers.cu
    matmul = layers.matmul
    activate = layers.activate
    dense = layers.dense
    signs_per_row = layers.signs_per_row
    activation_backward = layers.activation_backward
    matmul_activation_backward = layers.matmul_activation_backward
    add = layers.add

    # layer_normalization.py, layer_normalization.cu
    layer_norm = layer_normalization.layer_norm
    layer_norm_backward = layer_normalization.layer_norm_backward

    # batch_normalization.py, batch_normalization.cu, batch_normalization_backward.cu
    batch_norm = batch_normalization.batch_norm
    batch_norm_inference = batch_normalization.batch_norm_inference
    batch_norm_backward = batch_normalization.batch_norm_backward

    # embedding.py, embedding.cu
    embed = embedding.embed
    embed_backward = embedding.embed_backward
    embed_means = embedding.embed_means

    # columns.py, columns.cu
    join_columns = columns.join_columns
    take_columns = columns.take_columns
    add_columns = columns.add_columns
    scale_columns = columns.scale_columns
    scale_columns_backward = columns.scale_columns_backward

    # piecewise.py, piecewise.cu
    piecewise_linear = piecewise.piecewise_linear
    piecewise_linear_backward = piecewise.piecewise_linear_backward

    # losses.py, losses.cu
    softmax_cross_entropy = losses.softmax_cross_entropy
    focal_loss = losses.focal_loss
    count_correct = losses.count_correct

    # target_losses.py, target_losses.cu
    elementwise_loss = target_losses.elementwise_loss
    quantile_loss = target_losses.quantile_loss
    gaussian_nll = target_losses.gaussian_nll

    # ensembles.py, ensembles.cu
    mean_of_members = ensembles.mean_of_members

    # predictions.py, the kernels beside those of the losses
    softmax = predictions.softmax
    argmax = predictions.argmax
    positive = predictions.positive
    exp = predictions.exp
    quantiles = predictions.quantiles
    mean_and_variance = predictions.mean_and_variance

    # optimisers.py, optimisers.cu
    sgd = optimisers.sgd
    adam = optimisers.adam
    clip_by_global_norm = optimisers.clip_by_global_norm
    penalize = optimisers.penalize
    accumulate = optimisers.accumulate
    average = optimisers.average

    # batches.py, batches.cu
    gather = batches.gather
    copy = batches.copy
    standardize = batches.standardize
    fill = batches.fill
    tick = batches.tick

    # random.py, random.cu
    uniform = random.uniform
    permutation = random.permutation
    dropout = random.dropout

    # custom.py: functions of the user's own, which no recorded step can hold
    apply = custom.apply
    custom_loss = custom.custom_loss
