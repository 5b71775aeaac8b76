// Layer normalisation, x^ = (x - mean) inverse_std by the statistics of each row, and what of the backward pass goes by
// rows. Everything is computed in REAL; x, y, dy and dx are STORED.
//
// A row is shared by `group` threads: 1, 2, 4 ... 32 of one warp, or all of a block. Each takes N columns (16 bytes, or
// one) of every so many, keeps the first few and reads the others again each time they are wanted, from the cache. The
// loops over rows are the same for all threads of a block, because all take part when sums are exchanged.

const int THREADS = 256, WARPS = THREADS / 32;
const int WIDE = per_access<STORED>;

// ---- rows --------------------------------------------------------------------------------------------------------------

// How often a thread keeps N columns.
template <int N>
constexpr int KEPT = N > 4 ? 2 : 4;

__device__ __forceinline__ REAL group_sum(REAL x, int group) {
  if (group > 32) return block_sum<WARPS>(x);
  for (int mask = group / 2; mask; mask /= 2) x += __shfl_xor_sync(0xffffffffu, x, mask);
  return x;
}

// One row of a matrix, as one thread sees it.
template <int N>
struct Row {
  const STORED* row;
  int lane, group, width;
  REAL kept[KEPT<N>][N];

  __device__ __forceinline__ Row(const STORED* row, int lane, int group, int width)
      : row(row), lane(lane), group(group), width(width) {
#pragma unroll
    for (int i = 0; i < KEPT<N>; ++i) {
      const int c = (lane + i * group) * N;
      if (c < width) {
        load_widened(row + c, kept[i]);
      } else {
#pragma unroll
        for (int j = 0; j < N; ++j) kept[i][j] = 0;
      }
    }
  }

  // f(c, x) for all N columns from c on that are this thread's, x their values.
  template <class F>
  __device__ __forceinline__ void each(F f) const {
#pragma unroll
    for (int i = 0; i < KEPT<N>; ++i) {
      const int c = (lane + i * group) * N;
      if (c < width) f(c, kept[i]);
    }
#pragma unroll 1
    for (int c = (lane + KEPT<N> * group) * N; c < width; c += group * N) {
      REAL x[N];
      load_widened(row + c, x);
      f(c, x);
    }
  }
};

// The mean is that of x - x_0, as for columns.
template <int N>
__device__ __forceinline__ void layer_norm_rows(
    const STORED* x, const REAL* gain, const REAL* bias, REAL eps, REAL* mean, REAL* inverse_std, STORED* y, i64 rows,
    int columns, int group) {
  const int lane = (int)threadIdx.x % group, height = THREADS / group;
  for (i64 top = (i64)blockIdx.x * height; top < rows; top += (i64)gridDim.x * height) {
    const i64 r = top + (int)threadIdx.x / group;
    const int width = r < rows ? columns : 0;
    const Row<N> row(x + r * columns, lane, group, width);
    const REAL shift = width ? widen(x[r * columns]) : REAL(0);
    REAL sum = 0;
    row.each([&](int, const REAL(&v)[N]) {
#pragma unroll
      for (int j = 0; j < N; ++j) sum += v[j] - shift;
    });
    const REAL apart = group_sum(sum, group) / columns;
    sum = 0;
    row.each([&](int, const REAL(&v)[N]) {
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const REAL distance = v[j] - shift - apart;
        sum += distance * distance;
      }
    });
    const REAL scale = 1 / sqrt(group_sum(sum, group) / columns + eps), center = shift + apart;
    if (lane == 0 && width) {
      mean[r] = center;
      inverse_std[r] = scale;
    }
    STORED* out = y + r * columns;
    row.each([&](int c, const REAL(&v)[N]) {
      REAL factor[N], addend[N], normal[N];
      load_reals(gain + c, factor);
      load_reals(bias + c, addend);
#pragma unroll
      for (int j = 0; j < N; ++j) normal[j] = (v[j] - center) * scale * factor[j] + addend[j];
      store_narrowed(out + c, normal);
    });
  }
}

// y = gain (x - mean) inverse_std + bias with the statistics of each row, which are written.   x, y (rows, columns), gain,
// bias (columns,), mean, inverse_std (rows,).
extern "C" __global__ void __launch_bounds__(256) layer_norm(
    const STORED* __restrict__ x, const REAL* __restrict__ gain, const REAL* __restrict__ bias, REAL eps, REAL* mean,
    REAL* inverse_std, STORED* __restrict__ y, i64 rows, int columns, int group, int vector) {
  if (vector) {
    layer_norm_rows<WIDE>(x, gain, bias, eps, mean, inverse_std, y, rows, columns, group);
  } else {
    layer_norm_rows<1>(x, gain, bias, eps, mean, inverse_std, y, rows, columns, group);
  }
}

template <int N>
__device__ __forceinline__ void layer_norm_input_gradient_rows(
    const STORED* dy, const STORED* x, const REAL* gain, const REAL* mean, const REAL* inverse_std, STORED* dx, i64 rows,
    int columns, int group) {
  const int lane = (int)threadIdx.x % group, height = THREADS / group;
  for (i64 top = (i64)blockIdx.x * height; top < rows; top += (i64)gridDim.x * height) {
    const i64 r = top + (int)threadIdx.x / group;
    const int width = r < rows ? columns : 0;
    const i64 start = r * columns;
    const Row<N> row(dy + start, lane, group, width);
    const REAL center = width ? mean[r] : REAL(0), scale = width ? inverse_std[r] : REAL(0);
    // g = dy gain and x^, of the N columns from c on.
    auto look = [&](int c, const REAL(&d)[N], REAL(&g)[N], REAL(&normal)[N]) {
      load_reals(gain + c, g);
      load_widened(x + start + c, normal);
#pragma unroll
      for (int j = 0; j < N; ++j) g[j] *= d[j], normal[j] = (normal[j] - center) * scale;
    };
    REAL along_one = 0, along_x = 0;
    row.each([&](int c, const REAL(&d)[N]) {
      REAL g[N], normal[N];
      look(c, d, g, normal);
#pragma unroll
      for (int j = 0; j < N; ++j) along_one += g[j], along_x += g[j] * normal[j];
    });
    along_one = group_sum(along_one, group) / columns;
    along_x = group_sum(along_x, group) / columns;
    row.each([&](int c, const REAL(&d)[N]) {
      REAL g[N], normal[N];
      look(c, d, g, normal);
#pragma unroll
      for (int j = 0; j < N; ++j) g[j] = scale * (g[j] - along_one - normal[j] * along_x);
      store_narrowed(dx + start + c, g);
    });
  }
}

// dx = inverse_std (g - mean(g) - x^ mean(g x^)),   g = dy gain; dx may be dy.
extern "C" __global__ void __launch_bounds__(256) layer_norm_input_gradient(
    const STORED* dy, const STORED* __restrict__ x, const REAL* __restrict__ gain, const REAL* __restrict__ mean,
    const REAL* __restrict__ inverse_std, STORED* dx, i64 rows, int columns, int group, int vector) {
  if (vector) {
    layer_norm_input_gradient_rows<WIDE>(dy, x, gain, mean, inverse_std, dx, rows, columns, group);
  } else {
    layer_norm_input_gradient_rows<1>(dy, x, gain, mean, inverse_std, dx, rows, columns, group);
  }
}
