"""The specification: every kernel of the contract in plain array operations, written once.

``self.xp`` is NumPy, CuPy or a guarded NumPy, so this text is three implementations: what the CPU runs when nothing
faster is installed, what a GPU runs when no fused kernel exists, and what a test runs under a guard that refuses
implicit host reads. It says what the result is; a faster implementation may say how to get it sooner, and is held to
this one by the contract test.

No branch here depends on a number on the device: device scalars are picked with index arrays of length one
(``state[BATCH:BATCH+1]``) and combined by array operations. The kernels also carry complex arrays, for the
gradient check by complex step.
"""

from __future__ import annotations

from chainrule.backends.reference import (
    batches,
    columns,
    custom,
    embedding,
    ensembles,
    layers,
    losses,
    normalization,
    optimisers,
    piecewise,
    predictions,
    random,
    target_losses,
)
from chainrule.backends.reference.array_operations import ArrayOperations


class ReferenceBackend(ArrayOperations):
    """Which file computes what; memory and execution are left to the implementations for NumPy and CuPy."""

    fuses = frozenset({"scaled_dense"})

    fill = batches.fill
    copy = batches.copy
    copy_columns = batches.copy_columns
    standardize = batches.standardize
    scale_and_shift = batches.scale_and_shift
    first_nonfinite = batches.first_nonfinite
    gather = batches.gather
    tick = batches.tick

    matmul = layers.matmul
    activate = layers.activate
    dense = layers.dense
    scaled_dense = layers.scaled_dense
    scaled_dense_backward = layers.scaled_dense_backward
    activation_backward = layers.activation_backward
    matmul_activation_backward = layers.matmul_activation_backward
    add = layers.add

    layer_norm = normalization.layer_norm
    layer_norm_backward = normalization.layer_norm_backward
    batch_norm = normalization.batch_norm
    batch_norm_inference = normalization.batch_norm_inference
    batch_norm_backward = normalization.batch_norm_backward
    _moments = normalization.moments
    _normalize = normalization.normalize

    embed = embedding.embed
    embed_backward = embedding.embed_backward
    embed_means = embedding.embed_means

    join_columns = columns.join_columns
    take_columns = columns.take_columns
    add_columns = columns.add_columns
    scale_columns = columns.scale_columns
    scale_columns_backward = columns.scale_columns_backward

    piecewise_linear = piecewise.piecewise_linear
    piecewise_linear_backward = piecewise.piecewise_linear_backward
    encoded_dense = piecewise.encoded_dense
    encoded_dense_backward = piecewise.encoded_dense_backward

    softmax_cross_entropy = losses.softmax_cross_entropy
    focal_loss = losses.focal_loss
    count_correct = losses.count_correct
    _finish = losses.finish
    _record = losses.record

    elementwise_loss = target_losses.elementwise_loss
    quantile_loss = target_losses.quantile_loss
    gaussian_nll = target_losses.gaussian_nll

    apply = custom.apply
    custom_loss = custom.custom_loss

    softmax = predictions.softmax
    argmax = predictions.argmax
    positive = predictions.positive
    exp = predictions.exp
    quantiles = predictions.quantiles
    mean_and_variance = predictions.mean_and_variance

    mean_of_members = ensembles.mean_of_members

    sgd = optimisers.sgd
    adam = optimisers.adam
    clip_by_global_norm = optimisers.clip_by_global_norm
    penalize = optimisers.penalize
    accumulate = optimisers.accumulate
    average = optimisers.average
    _learning_rate = optimisers.learning_rate
    _bias_corrected = optimisers.bias_corrected
    _subtract = optimisers.subtract
    _update_touched = optimisers.update_touched
    _approach = optimisers.approach

    uniform = random.uniform
    permutation = random.permutation
    dropout = random.dropout
    _fill_words = random.fill_words
