// Losses of targets that are numbers, with their gradients, and predictions from their logits.

const int THREADS = 512, WARPS = THREADS / 32;
const int WIDE = per_access<REAL>;

// ---- element by element ----------------------------------------------------------------------------------------------

// l and dl/dz of one element, formulas as in backends/contract/target_losses.py; d is the loss's parameter. FACTOR is what
// the gradient is still to be multiplied by: with the rest of its factors, so that it does not overflow before they make it
// small.

struct SigmoidCrossEntropy {  // no exponential is ever above 1
  static constexpr REAL FACTOR = 1;
  __device__ __forceinline__ static void at(REAL z, REAL t, REAL, REAL& loss, REAL& gradient) {
    const REAL e = exp(-fabs(z));
    loss = (z > 0 ? z : REAL(0)) - z * t + log1p(e);
    gradient = (z > 0 ? REAL(1) : e) / (1 + e) - t;
  }
};

struct SquaredError {
  static constexpr REAL FACTOR = 2;
  __device__ __forceinline__ static void at(REAL z, REAL t, REAL, REAL& loss, REAL& gradient) {
    gradient = z - t;
    loss = gradient * gradient;
  }
};

struct AbsoluteError {
  static constexpr REAL FACTOR = 1;
  __device__ __forceinline__ static void at(REAL z, REAL t, REAL, REAL& loss, REAL& gradient) {
    const REAL error = z - t;
    loss = fabs(error);
    gradient = error > 0 ? REAL(1) : error < 0 ? REAL(-1) : error - error;  // a nan stays
  }
};

struct Huber {
  static constexpr REAL FACTOR = 1;
  __device__ __forceinline__ static void at(REAL z, REAL t, REAL d, REAL& loss, REAL& gradient) {
    const REAL error = z - t;
    gradient = error < -d ? -d : error > d ? d : error;
    loss = gradient * (error - gradient / 2);
  }
};

struct Poisson {
  static constexpr REAL FACTOR = 1;
  __device__ __forceinline__ static void at(REAL z, REAL t, REAL, REAL& loss, REAL& gradient) {
    const REAL expected = exp(z);
    loss = expected - t * z;
    gradient = expected - t;
  }
};

struct Gamma {
  static constexpr REAL FACTOR = 1;
  __device__ __forceinline__ static void at(REAL z, REAL t, REAL, REAL& loss, REAL& gradient) {
    const REAL ratio = t * exp(-z);
    loss = z + ratio;
    gradient = 1 - ratio;
  }
};

// N elements side by side, at once if they are `aligned`: which elements a thread adds up first does not depend on it.
template <int N, class T>
__device__ __forceinline__ Pack<T, N> load_any(const T* from, bool aligned) {
  if (aligned) return load<N>(from);
  Pack<T, N> pack;
#pragma unroll
  for (int j = 0; j < N; ++j) pack.at[j] = from[j];
  return pack;
}
template <int N, class T>
__device__ __forceinline__ void store_any(T* to, const Pack<T, N>& pack, bool aligned) {
  if (aligned) return store(to, pack);
#pragma unroll
  for (int j = 0; j < N; ++j) to[j] = pack.at[j];
}

// N elements of one row from `at` on: their gradient is written, their loss returned.
template <class Loss, int N>
__device__ __forceinline__ double loss_and_gradient(
    const Batch& batch, REAL parameter, const REAL* logits, const REAL* targets, const REAL* weights, STORED* dlogits,
    int columns, i64 at, bool aligned) {
  const Pack<REAL, N> z = load_any<N>(logits + at, aligned), t = load_any<N>(targets + at, aligned);
  const REAL weight = weights ? weights[at / columns] : REAL(1), factor = batch.factor * weight * Loss::FACTOR;
  Pack<STORED, N> d;
  double sum = 0;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    REAL loss, gradient;
    Loss::at(z.at[j], t.at[j], parameter, loss, gradient);
    sum += loss;
    d.at[j] = narrow<STORED>(gradient * factor);
  }
  store_any(dlogits + at, d, aligned);
  return weight * sum;
}

template <class Loss>
__device__ __forceinline__ double loss_and_gradient(
    const Batch& batch, REAL parameter, const REAL* logits, const REAL* __restrict__ targets,
    const REAL* __restrict__ weights, STORED* dlogits, i64 packs, bool aligned, i64 count, int columns,
    i64 targets_stride, i64 weights_stride) {
  logits += blockIdx.y * count;
  dlogits += blockIdx.y * count;
  targets += blockIdx.y * targets_stride;
  if (weights) weights += blockIdx.y * weights_stride;
  const i64 first = (i64)blockIdx.x * THREADS + threadIdx.x, stride = (i64)gridDim.x * THREADS;
  double loss = 0;
  for (i64 i = first; i < packs; i += stride) {
    const i64 at = i * WIDE;
    loss += loss_and_gradient<Loss, WIDE>(batch, parameter, logits, targets, weights, dlogits, columns, at, aligned);
  }
#pragma unroll 1
  for (i64 i = packs * WIDE + first; i < count; i += stride) {
    loss += loss_and_gradient<Loss, 1>(batch, parameter, logits, targets, weights, dlogits, columns, i, true);
  }
  return loss;
}

// logits, targets, dlogits: `count` elements in rows of so many columns; the first `packs` times WIDE of them are dealt
// out in packs, which are moved at once if all three arrays are `aligned`. dlogits may be the memory of logits if their
// types are equal.
extern "C" __global__ void __launch_bounds__(512) elementwise_sigmoid_cross_entropy(
    const REAL* logits, const REAL* __restrict__ targets, const REAL* __restrict__ weights,
    const double* __restrict__ total_weight, i64* state, REAL parameter, double scale, int mean, double* totals,
    STORED* dlogits, double* partials, u32* ticket, i64 rows, int columns, i64 packs, int aligned,
    i64 targets_stride, i64 weights_stride, i64 totals_stride) {
  const Batch batch = open(state, total_weight, weights_stride, rows, scale, mean);
  const double loss = loss_and_gradient<SigmoidCrossEntropy>(
      batch, parameter, logits, targets, weights, dlogits, packs, aligned, rows * columns, columns, targets_stride,
      weights_stride);
  close<WARPS>(batch, loss, scale, state, totals, totals_stride, partials, ticket);
}

extern "C" __global__ void __launch_bounds__(512) elementwise_squared_error(
    const REAL* logits, const REAL* __restrict__ targets, const REAL* __restrict__ weights,
    const double* __restrict__ total_weight, i64* state, REAL parameter, double scale, int mean, double* totals,
    STORED* dlogits, double* partials, u32* ticket, i64 rows, int columns, i64 packs, int aligned,
    i64 targets_stride, i64 weights_stride, i64 totals_stride) {
  const Batch batch = open(state, total_weight, weights_stride, rows, scale, mean);
  const double loss = loss_and_gradient<SquaredError>(
      batch, parameter, logits, targets, weights, dlogits, packs, aligned, rows * columns, columns, targets_stride,
      weights_stride);
  close<WARPS>(batch, loss, scale, state, totals, totals_stride, partials, ticket);
}

extern "C" __global__ void __launch_bounds__(512) elementwise_absolute_error(
    const REAL* logits, const REAL* __restrict__ targets, const REAL* __restrict__ weights,
    const double* __restrict__ total_weight, i64* state, REAL parameter, double scale, int mean, double* totals,
    STORED* dlogits, double* partials, u32* ticket, i64 rows, int columns, i64 packs, int aligned,
    i64 targets_stride, i64 weights_stride, i64 totals_stride) {
  const Batch batch = open(state, total_weight, weights_stride, rows, scale, mean);
  const double loss = loss_and_gradient<AbsoluteError>(
      batch, parameter, logits, targets, weights, dlogits, packs, aligned, rows * columns, columns, targets_stride,
      weights_stride);
  close<WARPS>(batch, loss, scale, state, totals, totals_stride, partials, ticket);
}

extern "C" __global__ void __launch_bounds__(512) elementwise_huber(
    const REAL* logits, const REAL* __restrict__ targets, const REAL* __restrict__ weights,
    const double* __restrict__ total_weight, i64* state, REAL parameter, double scale, int mean, double* totals,
    STORED* dlogits, double* partials, u32* ticket, i64 rows, int columns, i64 packs, int aligned,
    i64 targets_stride, i64 weights_stride, i64 totals_stride) {
  const Batch batch = open(state, total_weight, weights_stride, rows, scale, mean);
  const double loss = loss_and_gradient<Huber>(
      batch, parameter, logits, targets, weights, dlogits, packs, aligned, rows * columns, columns, targets_stride,
      weights_stride);
  close<WARPS>(batch, loss, scale, state, totals, totals_stride, partials, ticket);
}

extern "C" __global__ void __launch_bounds__(512) elementwise_poisson(
    const REAL* logits, const REAL* __restrict__ targets, const REAL* __restrict__ weights,
    const double* __restrict__ total_weight, i64* state, REAL parameter, double scale, int mean, double* totals,
    STORED* dlogits, double* partials, u32* ticket, i64 rows, int columns, i64 packs, int aligned,
    i64 targets_stride, i64 weights_stride, i64 totals_stride) {
  const Batch batch = open(state, total_weight, weights_stride, rows, scale, mean);
  const double loss = loss_and_gradient<Poisson>(
      batch, parameter, logits, targets, weights, dlogits, packs, aligned, rows * columns, columns, targets_stride,
      weights_stride);
  close<WARPS>(batch, loss, scale, state, totals, totals_stride, partials, ticket);
}

extern "C" __global__ void __launch_bounds__(512) elementwise_gamma(
    const REAL* logits, const REAL* __restrict__ targets, const REAL* __restrict__ weights,
    const double* __restrict__ total_weight, i64* state, REAL parameter, double scale, int mean, double* totals,
    STORED* dlogits, double* partials, u32* ticket, i64 rows, int columns, i64 packs, int aligned,
    i64 targets_stride, i64 weights_stride, i64 totals_stride) {
  const Batch batch = open(state, total_weight, weights_stride, rows, scale, mean);
  const double loss = loss_and_gradient<Gamma>(
      batch, parameter, logits, targets, weights, dlogits, packs, aligned, rows * columns, columns, targets_stride,
      weights_stride);
  close<WARPS>(batch, loss, scale, state, totals, totals_stride, partials, ticket);
}

// out = exp(x)
extern "C" __global__ void __launch_bounds__(512) exponential(const REAL* x, REAL* out, i64 count) {
  const i64 stride = (i64)gridDim.x * THREADS;
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < count; i += stride) out[i] = exp(x[i]);
}

// ---- quantiles that do not cross -------------------------------------------------------------------------------------

// log(1 + exp(z))
__device__ __forceinline__ REAL softplus(REAL z) { return (z > 0 ? z : REAL(0)) + log1p(exp(-fabs(z))); }

// A thread has the outputs of a row, target by target: q_1 = z_1, q_j = q_(j-1) + softplus(z_j). They rise, so if one
// is above the target, all that follow are.
// logits, dlogits (rows, columns, count), which may be one memory; targets (rows, columns); levels (count,).
extern "C" __global__ void __launch_bounds__(512) quantile_loss(
    const REAL* logits, const REAL* __restrict__ targets, const REAL* __restrict__ weights,
    const double* __restrict__ total_weight, i64* state, const REAL* __restrict__ levels, double scale, int mean,
    double* totals, STORED* dlogits, double* partials, u32* ticket, i64 rows, int columns, int count,
    i64 targets_stride, i64 weights_stride, i64 totals_stride) {
  const Batch batch = open(state, total_weight, weights_stride, rows, scale, mean);
  logits += blockIdx.y * rows * columns * count;
  dlogits += blockIdx.y * rows * columns * count;
  targets += blockIdx.y * targets_stride;
  if (weights) weights += blockIdx.y * weights_stride;
  const i64 stride = (i64)gridDim.x * THREADS;
  double loss = 0;
  for (i64 row = (i64)blockIdx.x * THREADS + threadIdx.x; row < rows; row += stride) {
    const REAL weight = weights ? weights[row] : REAL(1), factor = batch.factor * weight;
    for (int column = 0; column < columns; ++column) {
      const i64 i = row * columns + column;
      const REAL* z = logits + i * count;
      STORED* d = dlogits + i * count;
      const REAL t = targets[i];
      REAL q = 0;
      int first_above = count, first_nan = count;  // a nan stays to the end
#pragma unroll 1
      for (int j = 0; j < count; ++j) {
        q = j ? q + softplus(z[j]) : z[0];
        const REAL error = q - t;
        if (error > 0 && j < first_above) first_above = j;
        if (error != error && j < first_nan) first_nan = j;
        loss += weight * (error * ((error > 0 ? REAL(1) : REAL(0)) - levels[j]));
      }
      REAL slope = 0;  // dl/dq_j + ... + dl/dq_L, for z_j moves q_j and all above it
#pragma unroll 1
      for (int j = count - 1; j >= 0; --j) {
        slope += (j < first_above || j >= first_nan ? REAL(0) : REAL(1)) - levels[j];
        const REAL steepness = j ? 1 / (1 + exp(-z[j])) : REAL(1);
        d[j] = narrow<STORED>(steepness * slope * factor);
      }
    }
  }
  close<WARPS>(batch, loss, scale, state, totals, totals_stride, partials, ticket);
}

// The q of above.   logits, out (targets, count), which may be one memory.
extern "C" __global__ void __launch_bounds__(512) quantiles(const REAL* logits, REAL* out, i64 targets, int count) {
  const i64 stride = (i64)gridDim.x * THREADS;
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < targets; i += stride) {
    REAL q = 0;
    for (int j = 0; j < count; ++j) {
      const REAL z = logits[i * count + j];
      q = j ? q + softplus(z) : z;
      out[i * count + j] = q;
    }
  }
}

// ---- mean and log variance -------------------------------------------------------------------------------------------

// l = (s + (m - t)^2 exp(-s)) / 2.   logits, dlogits (rows, 2 columns): means m, then log variances s, which may be one
// memory; targets (rows, columns).
extern "C" __global__ void __launch_bounds__(512) gaussian_nll(
    const REAL* logits, const REAL* __restrict__ targets, const REAL* __restrict__ weights,
    const double* __restrict__ total_weight, i64* state, double scale, int mean, double* totals, STORED* dlogits,
    double* partials, u32* ticket, i64 rows, int columns, i64 targets_stride, i64 weights_stride,
    i64 totals_stride) {
  const Batch batch = open(state, total_weight, weights_stride, rows, scale, mean);
  logits += blockIdx.y * rows * columns * 2;
  dlogits += blockIdx.y * rows * columns * 2;
  targets += blockIdx.y * targets_stride;
  if (weights) weights += blockIdx.y * weights_stride;
  const i64 stride = (i64)gridDim.x * THREADS;
  double loss = 0;
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < rows * columns; i += stride) {
    const i64 row = i / columns, at = row * columns + i, to_variance = at + columns;
    const REAL weight = weights ? weights[row] : REAL(1), factor = batch.factor * weight;
    const REAL s = logits[to_variance], error = logits[at] - targets[i];
    const REAL pull = error * exp(-s), square = error * pull;
    loss += weight * (double)((s + square) / 2);
    dlogits[at] = narrow<STORED>(pull * factor);
    dlogits[to_variance] = narrow<STORED>((1 - square) / 2 * factor);
  }
  close<WARPS>(batch, loss, scale, state, totals, totals_stride, partials, ticket);
}

// out = logits in the first half of the columns, exp(logits) in the second.   (rows, columns), which may be one memory.
extern "C" __global__ void __launch_bounds__(512)
mean_and_variance(const REAL* logits, REAL* out, i64 rows, int columns) {
  const i64 stride = (i64)gridDim.x * THREADS;
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < rows * columns; i += stride) {
    const REAL z = logits[i];
    out[i] = i % columns < columns / 2 ? z : exp(z);
  }
}
