// Optimisers: the update of parameters and moments, of all or of the vectors that are touched.

// Vectors, dealt to all warps of the grid in turns; a lane has every 32nd number of one.
struct TouchedShare {
  i64 first, step;
  int lane;
  __device__ __forceinline__ TouchedShare()
      : first(((i64)blockIdx.x * blockDim.x + threadIdx.x) / 32),
        step((i64)gridDim.x * blockDim.x / 32),
        lane(threadIdx.x % 32) {}
};

// What products read of the parameters, rounded to STORED; null if nothing is kept of that.
typedef Pack<STORED, per_access<REAL>> Rounded;

__device__ __forceinline__ bool is_aligned_with_packs(const STORED* factors) {
  return ((u64)factors & (alignof(Rounded) - 1)) == 0;
}
__device__ __forceinline__ void keep(STORED* factors, i64 i, const Reals& p) {
  if (factors == nullptr) return;
  Rounded rounded;
#pragma unroll
  for (int j = 0; j < per_access<REAL>; ++j) rounded.at[j] = narrow<STORED>(p.at[j]);
  ((Rounded*)factors)[i] = rounded;
}
__device__ __forceinline__ void keep(STORED* factors, i64 i, REAL p) {
  if (factors) factors[i] = narrow<STORED>(p);
}

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
        STORED* __restrict__ factors, const double* __restrict__ lr, const i64* __restrict__ state, i64 size,
        int lr_count, double lr_factor, REAL momentum, int nesterov, REAL weight_decay, i64 params_stride,
        i64 grads_stride, i64 velocity_stride, i64 factors_stride) {
  if (state[HALTED] != RUNNING) return;
  params += blockIdx.y * params_stride;
  grads += blockIdx.y * grads_stride;
  if (velocity) velocity += blockIdx.y * velocity_stride;
  if (factors) factors += blockIdx.y * factors_stride;
  const Sgd step = {(REAL)learning_rate(lr, lr_count, state, lr_factor), momentum, weight_decay, nesterov != 0};
  const Share mine(
      size, is_aligned(params) && is_aligned(grads) && is_aligned(velocity) && is_aligned_with_packs(factors));
  if (velocity == nullptr) {
    #pragma unroll 1
    for (i64 i = mine.first; i < mine.packs; i += mine.step) {
      Reals p = pack(params, i);
      const Reals g = pack(grads, i);
      for (int j = 0; j < per_access<REAL>; ++j) step.plain(p.at[j], g.at[j]);
      pack(params, i) = p;
      keep(factors, i, p);
    }
    #pragma unroll 1
    for (i64 i = mine.packs * per_access<REAL> + mine.first; i < size; i += mine.step) {
      step.plain(params[i], grads[i]);
      keep(factors, i, params[i]);
    }
  } else {
    #pragma unroll 1
    for (i64 i = mine.first; i < mine.packs; i += mine.step) {
      Reals p = pack(params, i), v = pack(velocity, i);
      const Reals g = pack(grads, i);
      for (int j = 0; j < per_access<REAL>; ++j) step.with_velocity(p.at[j], g.at[j], v.at[j]);
      pack(params, i) = p;
      pack(velocity, i) = v;
      keep(factors, i, p);
    }
    #pragma unroll 1
    for (i64 i = mine.packs * per_access<REAL> + mine.first; i < size; i += mine.step) {
      step.with_velocity(params[i], grads[i], velocity[i]);
      keep(factors, i, params[i]);
    }
  }
}

// The vectors params, grads, velocity (vectors, width) whose number in `touched` is not 0, as sgd: a warp has a vector.
extern "C" __global__ void __launch_bounds__(256)
    sgd_of_touched(REAL* __restrict__ params, const REAL* __restrict__ grads, REAL* __restrict__ velocity,
                   STORED* __restrict__ factors, const float* __restrict__ touched, const double* __restrict__ lr,
                   const i64* __restrict__ state, i64 vectors, i64 width, int lr_count, double lr_factor,
                   REAL momentum, int nesterov, REAL weight_decay, i64 params_stride, i64 grads_stride,
                   i64 velocity_stride, i64 factors_stride, i64 touched_stride) {
  if (state[HALTED] != RUNNING) return;
  params += blockIdx.y * params_stride;
  grads += blockIdx.y * grads_stride;
  touched += blockIdx.y * touched_stride;
  if (velocity) velocity += blockIdx.y * velocity_stride;
  if (factors) factors += blockIdx.y * factors_stride;
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
      keep(factors, i, params[i]);
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
         STORED* __restrict__ factors, const double* __restrict__ lr, const i64* __restrict__ state, i64 size,
         int lr_count, double lr_factor, REAL beta1, REAL rest1, double log_beta1, REAL beta2, REAL rest2,
         double log_beta2, double eps, int eps_hat, REAL coupled_decay, double decoupled_decay, i64 params_stride,
         i64 grads_stride, i64 m_stride, i64 v_stride, i64 factors_stride) {
  params += blockIdx.y * params_stride;
  grads += blockIdx.y * grads_stride;
  m += blockIdx.y * m_stride;
  v += blockIdx.y * v_stride;
  if (factors) factors += blockIdx.y * factors_stride;
  const Share mine(
      size, is_aligned(params) && is_aligned(grads) && is_aligned(m) && is_aligned(v) && is_aligned_with_packs(factors));
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
    keep(factors, i, p_pack);
    i += mine.step;
    fetch();
  }
  #pragma unroll 1
  for (i = mine.packs * per_access<REAL> + mine.first; i < size; i += mine.step) {
    step(params[i], grads[i], m[i], v[i]);
    keep(factors, i, params[i]);
  }
}

// The vectors params, grads, m, v (vectors, width) whose number in `touched` is not 0, as adam: a warp has a vector.
extern "C" __global__ void __launch_bounds__(256)
    adam_of_touched(REAL* __restrict__ params, const REAL* __restrict__ grads, REAL* __restrict__ m,
                    REAL* __restrict__ v, STORED* __restrict__ factors, const float* __restrict__ touched,
                    const double* __restrict__ lr, const i64* __restrict__ state, i64 vectors, i64 width, int lr_count,
                    double lr_factor, REAL beta1, REAL rest1, double log_beta1, REAL beta2, REAL rest2,
                    double log_beta2, double eps, int eps_hat, REAL coupled_decay, double decoupled_decay,
                    i64 params_stride, i64 grads_stride, i64 m_stride, i64 v_stride, i64 factors_stride,
                    i64 touched_stride) {
  params += blockIdx.y * params_stride;
  grads += blockIdx.y * grads_stride;
  m += blockIdx.y * m_stride;
  v += blockIdx.y * v_stride;
  touched += blockIdx.y * touched_stride;
  if (factors) factors += blockIdx.y * factors_stride;
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
    for (i64 i = vector * width + mine.lane; i < (vector + 1) * width; i += 32) {
      step(params[i], grads[i], m[i], v[i]);
      keep(factors, i, params[i]);
    }
  }
}
