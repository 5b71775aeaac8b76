// Optimisers: flat arrays of one length, each element read once and written once, 16 bytes at a time.
//
// Of an ensemble each member has such arrays, `..._stride` elements from those of the next: it is a row of the grid.

// What all of these kernels have in common: elements in packs of 16 bytes, dealt to all threads of the grid in turns,
// then the rest one by one. If an array does not start on a 16-byte border, all of it is done one by one.
struct Share {
  i64 packs, first, step;
  __device__ __forceinline__ Share(i64 size, bool aligned)
      : packs(aligned ? size / per_access<REAL> : 0),
        first((i64)blockIdx.x * blockDim.x + threadIdx.x),
        step((i64)gridDim.x * blockDim.x) {}
};

// Vectors, dealt to all warps of the grid in turns; a lane has every 32nd number of one.
struct TouchedShare {
  i64 first, step;
  int lane;
  __device__ __forceinline__ TouchedShare()
      : first(((i64)blockIdx.x * blockDim.x + threadIdx.x) / 32),
        step((i64)gridDim.x * blockDim.x / 32),
        lane(threadIdx.x % 32) {}
};

typedef Pack<REAL, per_access<REAL>> Reals;

__device__ __forceinline__ const Reals& pack(const REAL* p, i64 i) { return ((const Reals*)p)[i]; }
__device__ __forceinline__ Reals& pack(REAL* p, i64 i) { return ((Reals*)p)[i]; }

// This batch's learning rate; the last of the table serves all later batches.
__device__ __forceinline__ double learning_rate(const double* lr, int lr_count, const i64* state, double lr_factor) {
  return lr[min(state[BATCH], (i64)(lr_count - 1))] * lr_factor;
}

// g = grads + weight_decay params,   v = momentum v + g,   params -= rate (g + momentum v if nesterov else v)
//
// velocity is null if momentum is 0. A run that has halted changes nothing.
struct Sgd {
  REAL rate, momentum, weight_decay;
  bool nesterov;
  __device__ __forceinline__ void plain(REAL& p, REAL g) const { p -= (p * weight_decay + g) * rate; }
  __device__ __forceinline__ void with_velocity(REAL& p, REAL g, REAL& v) const {
    g = p * weight_decay + g;
    v = v * momentum + g;
    p -= (nesterov ? v * momentum + g : v) * rate;
  }
};

extern "C" __global__ void __launch_bounds__(256)
    sgd(REAL* __restrict__ params, const REAL* __restrict__ grads, REAL* __restrict__ velocity,
        const double* __restrict__ lr, const i64* __restrict__ state, i64 size, int lr_count, double lr_factor,
        REAL momentum, int nesterov, REAL weight_decay, i64 params_stride, i64 grads_stride, i64 velocity_stride) {
  if (state[HALTED] != RUNNING) return;
  params += blockIdx.y * params_stride;
  grads += blockIdx.y * grads_stride;
  if (velocity) velocity += blockIdx.y * velocity_stride;
  const Sgd step = {(REAL)learning_rate(lr, lr_count, state, lr_factor), momentum, weight_decay, nesterov != 0};
  const Share mine(size, is_aligned(params) && is_aligned(grads) && is_aligned(velocity));
  if (velocity == nullptr) {
    #pragma unroll 1
    for (i64 i = mine.first; i < mine.packs; i += mine.step) {
      Reals p = pack(params, i);
      const Reals g = pack(grads, i);
      for (int j = 0; j < per_access<REAL>; ++j) step.plain(p.at[j], g.at[j]);
      pack(params, i) = p;
    }
    #pragma unroll 1
    for (i64 i = mine.packs * per_access<REAL> + mine.first; i < size; i += mine.step) step.plain(params[i], grads[i]);
  } else {
    #pragma unroll 1
    for (i64 i = mine.first; i < mine.packs; i += mine.step) {
      Reals p = pack(params, i), v = pack(velocity, i);
      const Reals g = pack(grads, i);
      for (int j = 0; j < per_access<REAL>; ++j) step.with_velocity(p.at[j], g.at[j], v.at[j]);
      pack(params, i) = p;
      pack(velocity, i) = v;
    }
    #pragma unroll 1
    for (i64 i = mine.packs * per_access<REAL> + mine.first; i < size; i += mine.step)
      step.with_velocity(params[i], grads[i], velocity[i]);
  }
}

// The vectors params, grads, velocity (vectors, width) whose number in `touched` is not 0, as sgd: a warp has a vector.
extern "C" __global__ void __launch_bounds__(256)
    sgd_of_touched(REAL* __restrict__ params, const REAL* __restrict__ grads, REAL* __restrict__ velocity,
                   const float* __restrict__ touched, const double* __restrict__ lr, const i64* __restrict__ state,
                   i64 vectors, i64 width, int lr_count, double lr_factor, REAL momentum, int nesterov,
                   REAL weight_decay, i64 params_stride, i64 grads_stride, i64 velocity_stride, i64 touched_stride) {
  if (state[HALTED] != RUNNING) return;
  params += blockIdx.y * params_stride;
  grads += blockIdx.y * grads_stride;
  touched += blockIdx.y * touched_stride;
  if (velocity) velocity += blockIdx.y * velocity_stride;
  const Sgd step = {(REAL)learning_rate(lr, lr_count, state, lr_factor), momentum, weight_decay, nesterov != 0};
  const TouchedShare mine;
  #pragma unroll 1
  for (i64 vector = mine.first; vector < vectors; vector += mine.step) {
    if (touched[vector] == 0) continue;
    #pragma unroll 1
    for (i64 i = vector * width + mine.lane; i < (vector + 1) * width; i += 32) {
      if (velocity)
        step.with_velocity(params[i], grads[i], velocity[i]);
      else
        step.plain(params[i], grads[i]);
    }
  }
}

// g = grads + coupled_decay params,   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2,
// params = (1 - rate decoupled_decay) params - rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
//
// with t = state[STEP] + 1. The bias corrections are the same for all elements and move out of the loop:
// step_size m / (sqrt(v) + step_eps) with root = sqrt(1 - beta2^t), step_size = rate root / (1 - beta1^t),
// step_eps = eps root, or eps if eps_hat. 28 bytes per parameter pass through memory in float32. A run that has halted
// changes nothing.
struct Adam {
  REAL keep, step_size, step_eps, beta1, rest1, beta2, rest2, coupled_decay;
  __device__ __forceinline__ void operator()(REAL& p, REAL g, REAL& m, REAL& v) const {
    if (coupled_decay != 0) g = p * coupled_decay + g;  // 0 times a weight that is infinite would be nan
    m = m * beta1 + g * rest1;
    v = v * beta2 + g * g * rest2;
    p = p * keep - m / (sqrt(v) + step_eps) * step_size;
  }
};

// What all elements share: keep, step_size, step_eps.
__device__ __forceinline__ void adam_numbers(
    const double* lr, const i64* state, int lr_count, double lr_factor, double log_beta1, double log_beta2, double eps,
    int eps_hat, double decoupled_decay, REAL* numbers) {
  const double rate = learning_rate(lr, lr_count, state, lr_factor), t = (double)(state[STEP] + 1);
  // 1 - beta^t by expm1, which keeps the digits that the subtraction would lose in the first steps.
  const double root = sqrt(-expm1(t * log_beta2));
  numbers[0] = (REAL)(1 - rate * decoupled_decay);
  numbers[1] = (REAL)(rate * root / -expm1(t * log_beta1));
  // Never 0, to which one below the normal numbers of REAL would be flushed: a moment of 0 is divided by it.
  const double smallest = sizeof(REAL) == 4 ? 1.1754943508222875e-38 : 0;
  numbers[2] = (REAL)max(eps_hat ? eps : eps * root, smallest);
}

extern "C" __global__ void __launch_bounds__(256)
    adam(REAL* __restrict__ params, const REAL* __restrict__ grads, REAL* __restrict__ m, REAL* __restrict__ v,
         const double* __restrict__ lr, const i64* __restrict__ state, i64 size, int lr_count, double lr_factor,
         REAL beta1, REAL rest1, double log_beta1, REAL beta2, REAL rest2, double log_beta2, double eps,
         int eps_hat, REAL coupled_decay, double decoupled_decay, i64 params_stride, i64 grads_stride, i64 m_stride,
         i64 v_stride) {
  params += blockIdx.y * params_stride;
  grads += blockIdx.y * grads_stride;
  m += blockIdx.y * m_stride;
  v += blockIdx.y * v_stride;
  const Share mine(size, is_aligned(params) && is_aligned(grads) && is_aligned(m) && is_aligned(v));
  i64 i = mine.first;
  Reals p_pack, g_pack, m_pack, v_pack;
  const auto fetch = [&] {
    if (i >= mine.packs) return;
    p_pack = pack(params, i);
    g_pack = pack(grads, i);
    m_pack = pack(m, i);
    v_pack = pack(v, i);
  };
  // The first loads are on their way while one thread computes what all elements share; doubles would not find the
  // registers for it.
  const bool early = sizeof(REAL) == 4;
  if (early) fetch();
  __shared__ REAL numbers[3];
  if (threadIdx.x == 0)
    adam_numbers(lr, state, lr_count, lr_factor, log_beta1, log_beta2, eps, eps_hat, decoupled_decay, numbers);
  const bool halted = state[HALTED] != RUNNING;
  __syncthreads();
  if (halted) return;
  const Adam step = {numbers[0], numbers[1], numbers[2], beta1, rest1, beta2, rest2, coupled_decay};
  if (!early) fetch();
  #pragma unroll 1
  while (i < mine.packs) {
    for (int j = 0; j < per_access<REAL>; ++j) step(p_pack.at[j], g_pack.at[j], m_pack.at[j], v_pack.at[j]);
    pack(params, i) = p_pack;
    pack(m, i) = m_pack;
    pack(v, i) = v_pack;
    i += mine.step;
    fetch();
  }
  #pragma unroll 1
  for (i = mine.packs * per_access<REAL> + mine.first; i < size; i += mine.step) step(params[i], grads[i], m[i], v[i]);
}

// The vectors params, grads, m, v (vectors, width) whose number in `touched` is not 0, as adam: a warp has a vector.
extern "C" __global__ void __launch_bounds__(256)
    adam_of_touched(REAL* __restrict__ params, const REAL* __restrict__ grads, REAL* __restrict__ m,
                    REAL* __restrict__ v, const float* __restrict__ touched, const double* __restrict__ lr,
                    const i64* __restrict__ state, i64 vectors, i64 width, int lr_count, double lr_factor, REAL beta1,
                    REAL rest1, double log_beta1, REAL beta2, REAL rest2, double log_beta2, double eps, int eps_hat,
                    REAL coupled_decay, double decoupled_decay, i64 params_stride, i64 grads_stride, i64 m_stride,
                    i64 v_stride, i64 touched_stride) {
  params += blockIdx.y * params_stride;
  grads += blockIdx.y * grads_stride;
  m += blockIdx.y * m_stride;
  v += blockIdx.y * v_stride;
  touched += blockIdx.y * touched_stride;
  __shared__ REAL numbers[3];
  if (threadIdx.x == 0)
    adam_numbers(lr, state, lr_count, lr_factor, log_beta1, log_beta2, eps, eps_hat, decoupled_decay, numbers);
  const bool halted = state[HALTED] != RUNNING;
  __syncthreads();
  if (halted) return;
  const Adam step = {numbers[0], numbers[1], numbers[2], beta1, rest1, beta2, rest2, coupled_decay};
  const TouchedShare mine;
  #pragma unroll 1
  for (i64 vector = mine.first; vector < vectors; vector += mine.step) {
    if (touched[vector] == 0) continue;
    #pragma unroll 1
    for (i64 i = vector * width + mine.lane; i < (vector + 1) * width; i += 32) step(params[i], grads[i], m[i], v[i]);
  }
}

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
