// Losses of one of k classes with their gradients, and the predictions softmax, argmax and positive.

const int THREADS = 512, WARPS = THREADS / 32;

// total = sum_i w_i, in double precision; weights (members, rows), total (members,).
extern "C" __global__ void __launch_bounds__(512)
sum_weights(const REAL* __restrict__ weights, i64 rows, double* total, double* partials, u32* ticket) {
  double sum = 0;
  const i64 stride = (i64)gridDim.x * THREADS, before = blockIdx.y * rows;
#pragma unroll 4
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < rows; i += stride) sum += weights[before + i];
  if (grid_sum<WARPS>(sum, partials, ticket) && threadIdx.x == 0) total[blockIdx.y] = sum;
}

// ---- whole rows -------------------------------------------------------------------------------------------------------
// A row is shared by `group` threads: 1, 2, 4 ... 32 of one warp, or all of a block. Each takes every group-th element.
// The loops over rows are the same for all threads of a block, because all take part when results are exchanged.

__device__ __forceinline__ REAL minus_infinity() { return -REAL(__uint_as_float(0x7f800000u)); }

// An element of a row, and its column.
struct Element {
  REAL value;
  int at;
};

__device__ __forceinline__ int from_lane(int x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
__device__ __forceinline__ REAL from_lane(REAL x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
__device__ __forceinline__ Element from_lane(Element x, int mask) {
  return {from_lane(x.value, mask), from_lane(x.at, mask)};
}

__device__ __forceinline__ REAL sum_of(REAL a, REAL b) { return a + b; }
__device__ __forceinline__ REAL larger_of(REAL a, REAL b) { return a > b ? a : b; }
__device__ __forceinline__ int both_of(int a, int b) { return a & b; }

// The one that argmax takes: a nan before all, then the larger, then the earlier.
__device__ __forceinline__ Element first_of(Element a, Element b) {
  const bool a_is_nan = a.value != a.value, b_is_nan = b.value != b.value;
  const bool equal = a_is_nan ? b_is_nan : a.value == b.value;
  const bool a_wins = equal ? a.at < b.at : a_is_nan || (!b_is_nan && a.value > b.value);
  return a_wins ? a : b;
}

// x of all threads of the group, combined, in each of them.
template <class T, T (*combined)(T, T)>
__device__ __forceinline__ T over_group(T x, int group) {
  for (int mask = min(group, 32) / 2; mask; mask /= 2) x = combined(x, from_lane(x, mask));
  if (group > 32) {
    __shared__ T of_warp[WARPS];
    __syncthreads();  // an earlier call may still be read
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
    __syncthreads();
    x = of_warp[0];
    for (int warp = 1; warp < WARPS; ++warp) x = combined(x, of_warp[warp]);
  }
  return x;
}

// What a thread keeps of a row: two elements, which are all there are unless the row is long. The rest is read again
// each time it is needed, from the cache.
struct Kept {
  REAL first, second;
};

__device__ __forceinline__ Kept keep(const REAL* z, int lane, int group, int width) {
  Kept kept;
  kept.first = lane < width ? z[lane] : minus_infinity();
  kept.second = lane + group < width ? z[lane + group] : minus_infinity();
  return kept;
}

struct Exponentials {
  REAL first, second;  // exp(z - largest) of what is kept; 0 behind the end of the row
  REAL largest, sum;   // over the row
};

__device__ __forceinline__ Exponentials exponentials(
    const REAL* z, const Kept& kept, int lane, int group, int width) {
  Exponentials e;
  REAL x = larger_of(kept.first, kept.second);
#pragma unroll 4
  for (int c = lane + 2 * group; c < width; c += group) x = larger_of(x, z[c]);
  e.largest = over_group<REAL, larger_of>(x, group);
  e.first = exp(kept.first - e.largest);
  e.second = exp(kept.second - e.largest);
  x = e.first + e.second;
#pragma unroll 2
  for (int c = lane + 2 * group; c < width; c += group) x += exp(z[c] - e.largest);
  e.sum = over_group<REAL, sum_of>(x, group);
  return e;
}

// A loss of a row, and dl/dz, from the row's exponentials. `prepare` is called by all threads of a group once per row;
// then `element` for each element: its part of the loss, and the gradient in place of p = softmax(z)_c.

// l = log(sum_j exp(z_j)) - z_label,   dl/dz = softmax(z) - onehot(label)
struct CrossEntropy {
  REAL log_sum;
  __device__ __forceinline__ void prepare(const Exponentials& e, REAL, int) { log_sum = log(e.sum); }
  __device__ __forceinline__ REAL element(bool chosen, REAL shifted, REAL& p) const {
    if (!chosen) return 0;
    p -= 1;
    return log_sum - shifted;
  }
};

// The same with q = (1 - s) onehot(label) + s / k in place of the one-hot vector; the sum over elements is l.
struct SmoothedCrossEntropy {
  REAL on_chosen, on_each;  // 1 - s, s / k
  REAL log_sum;
  __device__ __forceinline__ void prepare(const Exponentials& e, REAL, int) { log_sum = log(e.sum); }
  __device__ __forceinline__ REAL element(bool chosen, REAL shifted, REAL& p) const {
    const REAL q = chosen ? on_chosen + on_each : on_each;
    p -= q;
    return (chosen ? log_sum : REAL(0)) - q * shifted;
  }
};

// l = -(1 - p)^gamma log p,   dl/dz = f (softmax(z) - onehot(label)),   f = (1 - p)^gamma (1 + gamma p (-log p) / (1 - p))
struct Focal {
  REAL gamma;
  REAL loss, factor;
  __device__ __forceinline__ void prepare(const Exponentials& e, REAL shifted_label, int group) {
    const REAL nll = log(e.sum) - over_group<REAL, sum_of>(shifted_label, group);
    const REAL rest = -expm1(-nll), power = pow(rest, gamma);  // rest: 1 - p, without cancellation
    loss = power * nll;
    factor = power * (1 + gamma * (1 - rest) * (rest == 0 ? REAL(1) : nll / rest));
  }
  __device__ __forceinline__ REAL element(bool chosen, REAL, REAL& p) const {
    p = (chosen ? p - 1 : p) * factor;
    return chosen ? loss : REAL(0);
  }
};

// logits, dlogits (rows, columns), which may be one memory if their types are equal; labels (rows,).
// The sum of this thread's elements of the loss.
template <bool asks_for_label, class Loss>
__device__ __forceinline__ double loss_of_rows(
    Loss of_row, const Batch& batch, const REAL* logits, const int* __restrict__ labels,
    const REAL* __restrict__ weights, STORED* dlogits, i64 rows, int columns, int group, i64 targets_stride,
    i64 weights_stride) {
  logits += blockIdx.y * rows * columns;
  dlogits += blockIdx.y * rows * columns;
  labels += blockIdx.y * targets_stride;
  if (weights) weights += blockIdx.y * weights_stride;
  const int lane = (int)threadIdx.x % group, height = THREADS / group;
  const i64 step = (i64)gridDim.x * height;
  i64 top = (i64)blockIdx.x * height, row = top + (int)threadIdx.x / group;
  double loss = 0;
  int width = row < rows ? columns : 0;
  Kept kept = keep(logits + row * columns, lane, group, width);
  int label = width ? labels[row] : 0;
  REAL weight = width && weights ? weights[row] : REAL(1);
  for (; top < rows; top += step) {
    // The next row is asked for before this one is computed.
    const i64 next_row = row + step;
    const int next_width = next_row < rows ? columns : 0;
    const Kept next_kept = keep(logits + next_row * columns, lane, group, next_width);
    const int next_label = next_width ? labels[next_row] : 0;
    const REAL next_weight = next_width && weights ? weights[next_row] : REAL(1);

    const REAL* z = logits + row * columns;
    STORED* d = dlogits + row * columns;
    const Exponentials e = exponentials(z, kept, lane, group, width);
    const REAL inverse = 1 / e.sum, factor = batch.factor * weight;
    // Of the thread that has it: another might read the element after its gradient has taken its place.
    const bool has_label = asks_for_label && width && label % group == lane;
    of_row.prepare(e, has_label ? z[label] - e.largest : REAL(0), group);
    auto finish = [&](int c, REAL logit, REAL exponential) {
      REAL p = exponential * inverse;
      loss += (double)weight * of_row.element(c == label, logit - e.largest, p);
      d[c] = narrow<STORED>(p * factor);
    };
    if (lane < width) finish(lane, kept.first, e.first);
    if (lane + group < width) finish(lane + group, kept.second, e.second);
#pragma unroll 1
    for (int c = lane + 2 * group; c < width; c += group) {
      const REAL logit = z[c];
      finish(c, logit, exp(logit - e.largest));
    }
    row = next_row;
    width = next_width;
    kept = next_kept;
    label = next_label;
    weight = next_weight;
  }
  return loss;
}

extern "C" __global__ void __launch_bounds__(512) softmax_cross_entropy(
    const REAL* logits, const int* __restrict__ labels, const REAL* __restrict__ weights,
    const double* __restrict__ total_weight, i64* state, double scale, int mean, double* totals, STORED* dlogits,
    double* partials, u32* ticket, i64 rows, int columns, int group,
    i64 targets_stride, i64 weights_stride, i64 totals_stride) {
  const Batch batch = open(state, total_weight, weights_stride, rows, scale, mean);
  const double loss =
      loss_of_rows<false>(CrossEntropy(), batch, logits, labels, weights, dlogits, rows, columns, group, targets_stride,
                          weights_stride);
  close<WARPS>(batch, loss, scale, state, totals, totals_stride, partials, ticket);
}

extern "C" __global__ void __launch_bounds__(512) smoothed_softmax_cross_entropy(
    const REAL* logits, const int* __restrict__ labels, const REAL* __restrict__ weights,
    const double* __restrict__ total_weight, i64* state, double label_smoothing, double scale, int mean, double* totals,
    STORED* dlogits, double* partials, u32* ticket, i64 rows, int columns, int group,
    i64 targets_stride, i64 weights_stride, i64 totals_stride) {
  const Batch batch = open(state, total_weight, weights_stride, rows, scale, mean);
  SmoothedCrossEntropy of_row;
  of_row.on_chosen = REAL(1 - label_smoothing);
  of_row.on_each = REAL(label_smoothing / columns);
  const double loss = loss_of_rows<false>(
      of_row, batch, logits, labels, weights, dlogits, rows, columns, group, targets_stride, weights_stride);
  close<WARPS>(batch, loss, scale, state, totals, totals_stride, partials, ticket);
}

extern "C" __global__ void __launch_bounds__(512) focal_loss(
    const REAL* logits, const int* __restrict__ labels, const REAL* __restrict__ weights,
    const double* __restrict__ total_weight, i64* state, REAL gamma, double scale, int mean, double* totals,
    STORED* dlogits, double* partials, u32* ticket, i64 rows, int columns, int group,
    i64 targets_stride, i64 weights_stride, i64 totals_stride) {
  const Batch batch = open(state, total_weight, weights_stride, rows, scale, mean);
  Focal of_row;
  of_row.gamma = gamma;
  const double loss = loss_of_rows<true>(
      of_row, batch, logits, labels, weights, dlogits, rows, columns, group, targets_stride, weights_stride);
  close<WARPS>(batch, loss, scale, state, totals, totals_stride, partials, ticket);
}

// out_ij = exp(z_ij) / sum_k exp(z_ik).   logits, out (rows, columns), which may be one memory.
extern "C" __global__ void __launch_bounds__(512)
softmax(const REAL* logits, REAL* out, i64 rows, int columns, int group) {
  const int lane = (int)threadIdx.x % group, height = THREADS / group;
  for (i64 top = (i64)blockIdx.x * height; top < rows; top += (i64)gridDim.x * height) {
    const i64 row = top + (int)threadIdx.x / group;
    const int width = row < rows ? columns : 0;
    const REAL* z = logits + row * columns;
    REAL* p = out + row * columns;
    const Kept kept = keep(z, lane, group, width);
    const Exponentials e = exponentials(z, kept, lane, group, width);
    const REAL inverse = 1 / e.sum;
    if (lane < width) p[lane] = e.first * inverse;
    if (lane + group < width) p[lane + group] = e.second * inverse;
#pragma unroll 2
    for (int c = lane + 2 * group; c < width; c += group) p[c] = exp(z[c] - e.largest) * inverse;
  }
}

// out_i = max_j z_ij, log(sum_j exp(z_ij - max)): of large logits the sum of both would lose the second.
// logits (matrices, rows, columns), the matrices `apart` elements from each other; out (matrices, rows, 2)
extern "C" __global__ void __launch_bounds__(512) log_sums(
    const REAL* __restrict__ logits, REAL* __restrict__ out, i64 matrices, i64 rows, int columns, i64 apart, int group) {
  const int lane = (int)threadIdx.x % group, height = THREADS / group;
  const i64 all = matrices * rows;
  for (i64 top = (i64)blockIdx.x * height; top < all; top += (i64)gridDim.x * height) {
    const i64 i = top + (int)threadIdx.x / group;
    const int width = i < all ? columns : 0;
    const REAL* z = logits + i / rows * apart + i % rows * columns;
    const Exponentials e = exponentials(z, keep(z, lane, group, width), lane, group, width);
    if (lane == 0 && width) {
      out[2 * i] = e.largest;
      out[2 * i + 1] = log(e.sum);
    }
  }
}

// The column of the largest element of a row, in all threads of the group.
__device__ __forceinline__ int largest_at(const REAL* z, int lane, int group, int width) {
  Element best = {minus_infinity(), 0x7fffffff};
#pragma unroll 4
  for (int c = lane; c < width; c += group) best = first_of(best, {z[c], c});
  return over_group<Element, first_of>(best, group).at;
}

// out_i = the first j of the largest x_ij; of a nan, if there is one, as NumPy has it.   x (rows, columns), out (rows,).
extern "C" __global__ void __launch_bounds__(512)
argmax(const REAL* __restrict__ x, int* __restrict__ out, i64 rows, int columns, int group) {
  const int lane = (int)threadIdx.x % group, height = THREADS / group;
  for (i64 top = (i64)blockIdx.x * height; top < rows; top += (i64)gridDim.x * height) {
    const i64 row = top + (int)threadIdx.x / group;
    const int at = largest_at(x + row * columns, lane, group, row < rows ? columns : 0);
    if (lane == 0 && row < rows) out[row] = at;
  }
}

// totals[CORRECT] = sum_i w_i [row i is right].   logits (rows, columns); labels (rows,), or null and targets
// (rows, columns): then a row is right if every logit is above 0 exactly if its target is above 1/2.
extern "C" __global__ void __launch_bounds__(512) count_correct(
    const REAL* __restrict__ logits, const int* __restrict__ labels, const REAL* __restrict__ targets,
    const REAL* __restrict__ weights, const i64* __restrict__ state, double* totals, double* partials, u32* ticket,
    i64 rows, int columns, int group,
    i64 targets_stride, i64 weights_stride, i64 totals_stride) {
  const i64 slot = state[BATCH];
  logits += blockIdx.y * rows * columns;
  if (labels) labels += blockIdx.y * targets_stride;
  if (targets) targets += blockIdx.y * targets_stride;
  if (weights) weights += blockIdx.y * weights_stride;
  totals += blockIdx.y * totals_stride;
  const int lane = (int)threadIdx.x % group, height = THREADS / group;
  double correct = 0;
  for (i64 top = (i64)blockIdx.x * height; top < rows; top += (i64)gridDim.x * height) {
    const i64 row = top + (int)threadIdx.x / group;
    const int width = row < rows ? columns : 0;
    const REAL* z = logits + row * columns;
    const REAL weight = width && weights ? weights[row] : REAL(1);
    bool right;
    if (labels) {
      const int label = width ? labels[row] : 0;
      right = largest_at(z, lane, group, width) == label;
    } else {
      const REAL* t = targets + row * columns;
      int agree = 1;
#pragma unroll 4
      for (int c = lane; c < width; c += group) agree &= (z[c] > 0) == (t[c] > REAL(0.5));
      right = over_group<int, both_of>(agree, group);
    }
    if (lane == 0 && width && right) correct += weight;
  }
  if (grid_sum<WARPS>(correct, partials, ticket) && threadIdx.x == 0) totals[slot * 3 + CORRECT] = correct;
}

// out = 1 if x > 0, else 0.
extern "C" __global__ void __launch_bounds__(512)
positive(const REAL* __restrict__ x, int* __restrict__ out, i64 count) {
  const i64 stride = (i64)gridDim.x * THREADS;
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < count; i += stride) out[i] = x[i] > 0;
}
