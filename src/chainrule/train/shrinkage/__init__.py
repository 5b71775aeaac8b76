"""Shrinkage: predictions move towards the best constant prediction, by a factor chosen on held-out rows.

A net that has fitted noise is worse than the mean of the targets on new rows. How much of it to keep is one number:
with z the net's logits and c those of the best constant prediction,

    z_f = c + f (z - c),   f in [0, 1] the factor with the least loss on rows that the net was not trained on.

f = 0 is the constant prediction: the epoch before the first, so that no epoch that is kept can be worse than it. f = 1
is the net as it was trained. Of the squared error f is the slope of the targets on the predictions; of a softmax 1 / f
is its temperature, with the classes' shares at f = 0. Only the output layer changes: W -> f W, b -> f b + (1 - f) c.

The factor is chosen by m rows, and must pay for that as a parameter does. With D_f the deviance of these rows (their
loss less that of a prediction that is right for each of them), f is 0 if m (D_0 - D_f) / D_f <= 2 + 4 / (m - 2). In a
ratio of deviances the unit of the target cancels, as do constants that a loss leaves out (log t! of a Poisson). Of
weighted rows m = (sum w)^2 / sum(w^2), so that only ratios of weights matter; copies of a row are one row of their
total weight. A target that never changes gives f = 0 for its outputs.

A loss of several parameters of a distribution (mean and variance, location and gaps of quantiles) has a factor for
each, because a net may be right about the mean and wrong about the spread:

- gaussian_nll: f by the squared error of the mean alone. Then the log variance s -> c_s + g (s - c_s) + log q, g with
  the least negative log likelihood and q = mean((t - m_f)^2 / v_g) the factor by which variances were too small; q
  below 1 must pay for itself, and g too.
- quantile: f for the lowest quantile and g for the gaps above it, in turn, both by the loss.

Source: Copas 1983; van Houwelingen, le Cessie 1990, section 4 (shrinkage by cross-validation); Hurvich, Tsai 1989 (the
price of a parameter; of the squared error m log(L_0 / L_f), in first order the ratio above); McCullagh, Nelder 1989,
section 2.3 (deviance); Kish 1965, section 11.7 (effective number of rows); Guo et al. 2017 (temperature).
"""
