// Layers: activations, and the way back through them with the sum over rows that is the bias gradient. Products of
// matrices are the library's.
//
// Matrices are worked on in *strips*: blockIdx.x says which columns, blockIdx.y which rows. The threads of a block stand
// in rows of `lanes`, each with WIDE columns (16 bytes) where `vector` is set and with one column otherwise. So a
// thread keeps its columns, and sums over rows need no exchange but one at the end.

// Numbered as in layers.py.
enum Activation { IDENTITY, RELU, TANH, SIGMOID, LEAKY_RELU, ELU, SELU, SOFTPLUS, GELU, GELU_TANH, SILU, MISH };

const int WIDE = per_access<STORED>;
const int THREADS = 256;

// ---- activations: each function beside its derivative, by the formulas of backends/contract/backend.py ---------------------------
//
// A comparison is written so that a nan stays one, through ReLU too: or a run that has diverged would go on. The numbers
// and the ends beyond which a gate is 0 or 1 are those of backends/reference/activations.py and gated_activations.py.

const REAL SLOPE = REAL(0.01);
const REAL SELU_SCALE = REAL(1.0507009873554805), SELU_FLOOR = REAL(1.7580993408473766);
const REAL ROOT_HALF = REAL(0.70710678118654752), DENSITY = REAL(0.39894228040143268);
const REAL TANH_1 = REAL(1.5957691216057308), TANH_3 = REAL(0.071354816272600247);

__device__ __forceinline__ REAL at_least(REAL z, REAL low) { return z < low ? low : z; }
__device__ __forceinline__ REAL at_most(REAL z, REAL high) { return z > high ? high : z; }
__device__ __forceinline__ REAL between(REAL z, REAL low, REAL high) { return at_most(at_least(z, low), high); }

__device__ __forceinline__ REAL relu(REAL z) { return z < 0 ? REAL(0) : z; }
__device__ __forceinline__ REAL relu_derivative(REAL y) { return y > 0 ? REAL(1) : REAL(0); }

__device__ __forceinline__ REAL leaky_relu(REAL z) { return z < 0 ? SLOPE * z : z; }
__device__ __forceinline__ REAL leaky_relu_derivative(REAL y) { return y > 0 ? REAL(1) : SLOPE; }

__device__ __forceinline__ REAL elu(REAL z) { return z < 0 ? expm1(z) : z; }
__device__ __forceinline__ REAL elu_derivative(REAL y) { return 1 + at_most(y, 0); }

__device__ __forceinline__ REAL selu(REAL z) { return z < 0 ? SELU_FLOOR * expm1(z) : SELU_SCALE * z; }
__device__ __forceinline__ REAL selu_derivative(REAL y) { return y > 0 ? SELU_SCALE : y + SELU_FLOOR; }

__device__ __forceinline__ REAL softplus(REAL z) { return relu(z) + log1p(exp(-fabs(z))); }
__device__ __forceinline__ REAL softplus_derivative(REAL y) { return 1 - exp(-y); }

__device__ __forceinline__ REAL tanh_derivative(REAL y) { return 1 - y * y; }

__device__ __forceinline__ REAL sigmoid(REAL z) { return 1 / (1 + exp(-z)); }  // exp may be inf, and 1 / inf is the right 0
__device__ __forceinline__ REAL sigmoid_derivative(REAL y) { return (1 - y) * y; }

__device__ __forceinline__ REAL gelu(REAL z) {
  z = at_least(z, -40);
  return z * (REAL(0.5) * erfc(-z * ROOT_HALF));
}
__device__ __forceinline__ REAL gelu_derivative(REAL z) {
  z = between(z, -40, 40);
  const REAL bell = DENSITY * exp(REAL(-0.5) * z * z);  // first, or erfc leaves too few registers in bf16
  return z * bell + REAL(0.5) * erfc(-z * ROOT_HALF);
}

__device__ __forceinline__ REAL silu(REAL z) {
  z = at_least(z, -800);
  const REAL w = exp(at_most(z, 40));
  return z * (w / (w + 1));
}
// Of s = sigmoid(v), where w = exp(v):  s + z v' s (1 - s),  with 1 - s = 1 / (w + 1).
__device__ __forceinline__ REAL gate_derivative(REAL zv, REAL w) { return (zv / (w + 1) + 1) * (w / (w + 1)); }
__device__ __forceinline__ REAL silu_derivative(REAL z) {
  z = between(z, -800, 40);
  return gate_derivative(z, exp(z));
}

__device__ __forceinline__ REAL gelu_tanh(REAL z) {
  z = at_least(z, -40);
  const REAL c = at_most(z, 8), w = exp(c * (TANH_1 + TANH_3 * c * c));
  return z * (w / (w + 1));
}
__device__ __forceinline__ REAL gelu_tanh_derivative(REAL z) {
  z = between(z, -40, 8);
  return gate_derivative(z * (TANH_1 + 3 * TANH_3 * z * z), exp(z * (TANH_1 + TANH_3 * z * z)));
}

// With w = exp(z), n = w (w + 2) and d = n + 2:  tanh(log(1 + w)) = n / d.
__device__ __forceinline__ REAL mish(REAL z) {
  z = at_least(z, -800);
  const REAL w = exp(at_most(z, 30)), n = w * (w + 2);
  return z * (n / (n + 2));
}
__device__ __forceinline__ REAL mish_derivative(REAL z) {
  z = between(z, -800, 30);
  const REAL w = exp(z), n = w * (w + 2), d = n + 2;
  return (n + 4 * z * (w * (w + 1) / d)) / d;
}

#define FOR_ALL(N, statement)    \
  {                              \
    _Pragma("unroll")            \
    for (int j = 0; j < N; ++j) statement; \
  }

// z = act(z).
template <int N>
__device__ __forceinline__ void act(int activation, REAL (&z)[N]) {
  switch (activation) {
    case RELU: FOR_ALL(N, z[j] = relu(z[j])) break;
    case TANH: FOR_ALL(N, z[j] = tanh(z[j])) break;
    case SIGMOID: FOR_ALL(N, z[j] = sigmoid(z[j])) break;
    case LEAKY_RELU: FOR_ALL(N, z[j] = leaky_relu(z[j])) break;
    case ELU: FOR_ALL(N, z[j] = elu(z[j])) break;
    case SELU: FOR_ALL(N, z[j] = selu(z[j])) break;
    case SOFTPLUS: FOR_ALL(N, z[j] = softplus(z[j])) break;
    case GELU: FOR_ALL(N, z[j] = gelu(z[j])) break;
    case GELU_TANH: FOR_ALL(N, z[j] = gelu_tanh(z[j])) break;
    case SILU: FOR_ALL(N, z[j] = silu(z[j])) break;
    case MISH: FOR_ALL(N, z[j] = mish(z[j])) break;
  }
}

// dy = dy act'(saved). A product for ReLU too: 0 times what is not finite is nan, and seen.
template <int N>
__device__ __forceinline__ void act_backward(int activation, const REAL (&saved)[N], REAL (&dy)[N]) {
  switch (activation) {
    case RELU: FOR_ALL(N, dy[j] *= relu_derivative(saved[j])) break;
    case TANH: FOR_ALL(N, dy[j] *= tanh_derivative(saved[j])) break;
    case SIGMOID: FOR_ALL(N, dy[j] *= sigmoid_derivative(saved[j])) break;
    case LEAKY_RELU: FOR_ALL(N, dy[j] *= leaky_relu_derivative(saved[j])) break;
    case ELU: FOR_ALL(N, dy[j] *= elu_derivative(saved[j])) break;
    case SELU: FOR_ALL(N, dy[j] *= selu_derivative(saved[j])) break;
    case SOFTPLUS: FOR_ALL(N, dy[j] *= softplus_derivative(saved[j])) break;
    case GELU: FOR_ALL(N, dy[j] *= gelu_derivative(saved[j])) break;
    case GELU_TANH: FOR_ALL(N, dy[j] *= gelu_tanh_derivative(saved[j])) break;
    case SILU: FOR_ALL(N, dy[j] *= silu_derivative(saved[j])) break;
    case MISH: FOR_ALL(N, dy[j] *= mish_derivative(saved[j])) break;
  }
}

// ---- forward ---------------------------------------------------------------------------------------------------------

// out = act(z), of `count` elements; out may be z. The first `packs` times WIDE of them are read 16 bytes at a time.
extern "C" __global__ void __launch_bounds__(256)
activate(int activation, const STORED* z, STORED* out, i64 packs, i64 count) {
  const i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x, stride = (i64)gridDim.x * blockDim.x;
  for (i64 i = first; i < packs; i += stride) {
    REAL x[WIDE];
    load_widened(z + i * WIDE, x);
    act(activation, x);
    store_narrowed(out + i * WIDE, x);
  }
#pragma unroll 1
  for (i64 i = packs * WIDE + first; i < count; i += stride) {
    REAL x[1] = {widen(z[i])};
    act(activation, x);
    out[i] = narrow<STORED>(x[0]);
  }
}

template <int N>
__device__ __forceinline__ void bias_activate_strip(
    int activation, const STORED* product, const STORED* __restrict__ b, STORED* z, STORED* y, i64 rows, int columns,
    int lanes) {
  const int height = THREADS / lanes, row = (int)threadIdx.x / lanes, lane = (int)threadIdx.x % lanes;
  const i64 column = ((i64)blockIdx.x * lanes + lane) * N;
  if (row >= height || column >= columns) return;
  REAL bias[N];
  load_widened(b + column, bias);
  const i64 step = (i64)gridDim.y * height;
  for (i64 r = (i64)blockIdx.y * height + row; r < rows; r += step) {
    const i64 at = r * columns + column;
    REAL x[N];
    load_widened(product + at, x);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] += bias[j];
    if (z) {  // y is what the activation makes of the z that is kept, rounding and all
      const Pack<STORED, N> kept = narrow(x);
      store(z + at, kept);
      widen(kept, x);
    }
    act(activation, x);
    store_narrowed(y + at, x);
  }
}

// z = product + b,   y = act(z).   product, z, y (rows, columns), b (columns,). All three may be one memory; where no
// one wants z it is null.
extern "C" __global__ void __launch_bounds__(256) bias_activate(
    int activation, const STORED* product, const STORED* __restrict__ b, STORED* z, STORED* y, i64 rows, int columns,
    int lanes, int vector) {
  if (vector) {
    bias_activate_strip<WIDE>(activation, product, b, z, y, rows, columns, lanes);
  } else {
    bias_activate_strip<1>(activation, product, b, z, y, rows, columns, lanes);
  }
}

// ---- sums ------------------------------------------------------------------------------------------------------------

// out = a + b, of `count` elements; out may be either. The first `packs` times WIDE are moved 16 bytes at a time.
extern "C" __global__ void __launch_bounds__(256) add(const STORED* a, const STORED* b, STORED* out, i64 packs, i64 count) {
  const i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x, stride = (i64)gridDim.x * blockDim.x;
  for (i64 i = first; i < packs; i += stride) {
    REAL x[WIDE], y[WIDE];
    load_widened(a + i * WIDE, x);
    load_widened(b + i * WIDE, y);
#pragma unroll
    for (int j = 0; j < WIDE; ++j) x[j] += y[j];
    store_narrowed(out + i * WIDE, x);
  }
#pragma unroll 1
  for (i64 i = packs * WIDE + first; i < count; i += stride) out[i] = narrow<STORED>(widen(a[i]) + widen(b[i]));
}

// ---- backward --------------------------------------------------------------------------------------------------------

// UNROLL rows are under way at once, each a load that does not wait for the others'. They are added up in pairs, and
// every GROUPS such sums begin a new one: so errors of rounding stay small however many rows there are.
template <int N, int UNROLL>
__device__ __forceinline__ void activation_backward_strip(
    int activation, const STORED* __restrict__ saved, const STORED* dy, STORED* dz, REAL* __restrict__ db,
    REAL* partials, u32* tickets, i64 rows, int columns, int lanes, REAL* shared) {
  const int GROUPS = 16;
  const int height = THREADS / lanes, row = (int)threadIdx.x / lanes, lane = (int)threadIdx.x % lanes;
  const i64 column = ((i64)blockIdx.x * lanes + lane) * N;
  const bool works = row < height && column < columns;
  REAL total[N] = {};
  if (works) {
    const i64 step = (i64)gridDim.y * height * columns, end = rows * columns;
    REAL some[N] = {};
    int groups = 0;
    for (i64 at = ((i64)blockIdx.y * height + row) * columns + column; at < end; at += step * UNROLL) {
      Pack<STORED, N> y[UNROLL] = {}, g[UNROLL] = {};
#pragma unroll
      for (int i = 0; i < UNROLL; ++i) {
        if (at + i * step < end) g[i] = load<N>(dy + at + i * step);
      }
      if (activation != IDENTITY) {
#pragma unroll
        for (int i = 0; i < UNROLL; ++i) {
          if (at + i * step < end) y[i] = load<N>(saved + at + i * step);
        }
      }
      REAL d[UNROLL][N];
#pragma unroll
      for (int i = 0; i < UNROLL; ++i) {
        REAL out[N];
        widen(y[i], out);
        widen(g[i], d[i]);
        act_backward(activation, out, d[i]);
        g[i] = narrow(d[i]);
        widen(g[i], d[i]);  // db is the sum of what is written
        if (dz && at + i * step < end) store(dz + at + i * step, g[i]);
      }
#pragma unroll
      for (int half = UNROLL / 2; half; half /= 2) {
#pragma unroll
        for (int i = 0; i < half; ++i) {
#pragma unroll
          for (int j = 0; j < N; ++j) d[i][j] += d[i + half][j];
        }
      }
#pragma unroll
      for (int j = 0; j < N; ++j) some[j] += d[0][j];
      if (++groups == GROUPS) {
        groups = 0;
#pragma unroll
        for (int j = 0; j < N; ++j) {
          total[j] += some[j];
          some[j] = 0;
        }
      }
    }
#pragma unroll
    for (int j = 0; j < N; ++j) total[j] += some[j];
  }
  REAL sum = strip_sum<THREADS>(total, lanes, shared);
  const i64 mine = (i64)blockIdx.x * lanes * N + threadIdx.x;  // the column that this thread has the sum of
  const bool has = (int)threadIdx.x < lanes * N && mine < columns;
  if (gridDim.y > 1) {
    if (has) partials[(i64)blockIdx.y * columns + mine] = sum;
    if (!comes_last(gridDim.y, tickets + blockIdx.x)) return;
#pragma unroll
    for (int j = 0; j < N; ++j) total[j] = 0;
    if (works) {
#pragma unroll 8
      for (int s = row; s < (int)gridDim.y; s += height) {
        const Pack<REAL, N> partial = load<N>(partials + (i64)s * columns + column);
#pragma unroll
        for (int j = 0; j < N; ++j) total[j] += partial.at[j];
      }
    }
    sum = strip_sum<THREADS>(total, lanes, shared);
  }
  if (has) db[mine] = sum;
}

// dz = dy act'(saved),   db = sum_rows(dz).   saved, dy, dz (rows, columns), db (columns,); dz may be dy.
//
// `saved` is null for the identity, which does not read it; `dz` is null where it is dy and would not change. With
// several blocks a strip the sums of each go to `partials` (gridDim.y, columns), and the last one to finish, found by
// `tickets` (gridDim.x,), adds them up. db is the sum of dz as it is stored: a bias is a weight whose input is 1, and its
// gradient is what the product of those ones and dz would be. (No __restrict__ on what other blocks write: a compiler
// that believes it may read before the barrier.)
extern "C" __global__ void __launch_bounds__(256) activation_backward(
    int activation, const STORED* __restrict__ saved, const STORED* dy, STORED* dz, REAL* __restrict__ db,
    REAL* partials, u32* tickets, i64 rows, int columns, int lanes, int vector) {
  __shared__ Pack<REAL, WIDE> packs[THREADS];
  REAL* shared = packs[0].at;
  if (vector) {
    activation_backward_strip<WIDE, 4>(
        activation, saved, dy, dz, db, partials, tickets, rows, columns, lanes, shared);
  } else {
    activation_backward_strip<1, 8>(activation, saved, dy, dz, db, partials, tickets, rows, columns, lanes, shared);
  }
}
