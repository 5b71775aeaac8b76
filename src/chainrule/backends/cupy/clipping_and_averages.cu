// What is done to gradients before an update and to weights after it: clipping, penalty, accumulation, averages.

// factor = min(max_norm, norm) / norm,   norm = sqrt(sum g^2); 1 if norm is 0.
//
// Added up in double precision, in which no float32 over- or underflows, and in an order that `size` and the grid alone
// decide.
extern "C" __global__ void __launch_bounds__(256)
    global_norm(const REAL* __restrict__ grads, i64 size, double max_norm, double* partials, u32* ticket,
                REAL* __restrict__ factor, i64 grads_stride) {
  grads += blockIdx.y * grads_stride;
  const Share mine(size, is_aligned(grads));
  double sum = 0;
  const auto add = [&](REAL g) { sum += (double)g * (double)g; };
  i64 i = mine.first;
  #pragma unroll 1
  for (; i + 3 * mine.step < mine.packs; i += 4 * mine.step) {  // four loads on their way at a time
    Reals g[4];
    for (int k = 0; k < 4; ++k) g[k] = pack(grads, i + k * mine.step);
    for (int k = 0; k < 4; ++k)
      for (int j = 0; j < per_access<REAL>; ++j) add(g[k].at[j]);
  }
  #pragma unroll 1
  for (; i < mine.packs; i += mine.step) {
    const Reals g = pack(grads, i);
    for (int j = 0; j < per_access<REAL>; ++j) add(g.at[j]);
  }
  #pragma unroll 1
  for (i = mine.packs * per_access<REAL> + mine.first; i < size; i += mine.step) add(grads[i]);

  if (grid_sum<8>(sum, partials, ticket) && threadIdx.x == 0) {
    const double norm = sqrt(sum);
    factor[blockIdx.y] = (REAL)(min(norm, max_norm) / (norm == 0 ? 1 : norm));
  }
}

// grads *= factor. A factor of 1 leaves them alone, bit for bit and without a pass over memory.
extern "C" __global__ void __launch_bounds__(256)
    clip_by_global_norm(REAL* __restrict__ grads, i64 size, const REAL* __restrict__ factor, i64 grads_stride) {
  const REAL by = factor[blockIdx.y];
  if (by == 1) return;
  grads += blockIdx.y * grads_stride;
  const Share mine(size, is_aligned(grads));
  #pragma unroll 1
  for (i64 i = mine.first; i < mine.packs; i += mine.step) {
    Reals g = pack(grads, i);
    for (int j = 0; j < per_access<REAL>; ++j) g.at[j] *= by;
    pack(grads, i) = g;
  }
  #pragma unroll 1
  for (i64 i = mine.packs * per_access<REAL> + mine.first; i < size; i += mine.step) grads[i] *= by;
}

// totals[state[BATCH], LOSS] += alpha / 2 sum p^2,   grads += alpha p / W,   W = totals[state[BATCH], WEIGHT] or 1
//
// Added up as the norm is. 12 bytes a parameter pass through memory in float32.
extern "C" __global__ void __launch_bounds__(256)
    penalize(const REAL* __restrict__ params, REAL* __restrict__ grads, double* totals,
             const i64* __restrict__ state, i64 size, double alpha, int mean, double* partials, u32* ticket,
             i64 params_stride, i64 grads_stride, i64 totals_stride) {
  params += blockIdx.y * params_stride;
  grads += blockIdx.y * grads_stride;
  double* const total = totals + blockIdx.y * totals_stride + state[BATCH] * 3;
  const double weight = total[WEIGHT];
  const REAL factor = (REAL)(alpha / (mean && weight != 0 ? weight : 1.0));
  const Share mine(size, is_aligned(params) && is_aligned(grads));
  double sum = 0;
  const auto slope = [&](REAL p) {
    sum += (double)p * (double)p;
    return p * factor;
  };
  #pragma unroll 1
  for (i64 i = mine.first; i < mine.packs; i += mine.step) {
    const Reals p = pack(params, i);
    Reals g = pack(grads, i);
    for (int j = 0; j < per_access<REAL>; ++j) g.at[j] += slope(p.at[j]);
    pack(grads, i) = g;
  }
  #pragma unroll 1
  for (i64 i = mine.packs * per_access<REAL> + mine.first; i < size; i += mine.step) grads[i] += slope(params[i]);
  if (grid_sum<8>(sum, partials, ticket) && threadIdx.x == 0) total[LOSS] += alpha / 2 * sum;
}

// out += (target - out) share,   or if `replace` out = target, whatever it held.
__device__ __forceinline__ void approach(
    const REAL* __restrict__ target, REAL* __restrict__ out, i64 size, REAL share, bool replace) {
  const auto moved = [=](REAL x, REAL y) { return replace ? x : y + (x - y) * share; };
  const Share mine(size, is_aligned(target) && is_aligned(out));
  #pragma unroll 1
  for (i64 i = mine.first; i < mine.packs; i += mine.step) {
    const Reals x = pack(target, i);
    Reals y = pack(out, i);
    for (int j = 0; j < per_access<REAL>; ++j) y.at[j] = moved(x.at[j], y.at[j]);
    pack(out, i) = y;
  }
  #pragma unroll 1
  for (i64 i = mine.packs * per_access<REAL> + mine.first; i < size; i += mine.step) out[i] = moved(target[i], out[i]);
}

// The gradient of the batches of a group so far; this one is number j = state[BATCH] % group of it.
//
// j = 0: out = grads,   mean: out += (grads - out) W_j / (W_0 + ... + W_j),   sum: out += grads
extern "C" __global__ void __launch_bounds__(256)
    accumulate(const REAL* __restrict__ grads, const double* __restrict__ totals, const i64* __restrict__ state,
               i64 size, int group, int mean, REAL* __restrict__ out, i64 grads_stride, i64 totals_stride, i64 out_stride) {
  grads += blockIdx.y * grads_stride;
  totals += blockIdx.y * totals_stride;
  out += blockIdx.y * out_stride;
  const i64 batch = state[BATCH];
  const int place = (int)(batch % group);
  if (place == 0 || mean) {
    __shared__ REAL shared_share;
    if (threadIdx.x == 0 && place > 0) {
      double weight = 0;
      for (int i = 0; i <= place; ++i) weight += totals[(batch - i) * 3 + WEIGHT];
      shared_share = (REAL)(totals[batch * 3 + WEIGHT] / (weight == 0 ? 1 : weight));
    }
    __syncthreads();
    approach(grads, out, size, place == 0 ? (REAL)1 : shared_share, place == 0);
    return;
  }
  const Share mine(size, is_aligned(grads) && is_aligned(out));
  #pragma unroll 1
  for (i64 i = mine.first; i < mine.packs; i += mine.step) {
    const Reals g = pack(grads, i);
    Reals sum = pack(out, i);
    for (int j = 0; j < per_access<REAL>; ++j) sum.at[j] += g.at[j];
    pack(out, i) = sum;
  }
  #pragma unroll 1
  for (i64 i = mine.packs * per_access<REAL> + mine.first; i < size; i += mine.step) out[i] += grads[i];
}

// out += (1 - d) (params - out),   d = min(decay, (1 + t) / (10 + t)),   t = state[STEP] + 1.
//
// 12 bytes a parameter pass through memory in float32. A run that has halted changes nothing.
extern "C" __global__ void __launch_bounds__(256)
    average(const REAL* __restrict__ params, const i64* __restrict__ state, i64 size, double decay,
            REAL* __restrict__ out, i64 params_stride, i64 out_stride) {
  if (state[HALTED] != RUNNING) return;
  params += blockIdx.y * params_stride;
  out += blockIdx.y * out_stride;
  const double t = (double)(state[STEP] + 1);
  approach(params, out, size, (REAL)(1 - min(decay, (1 + t) / (10 + t))), false);
}
