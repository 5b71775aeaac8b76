// Layers: activations, and the backward pass through them with the sum over rows that is the bias gradient. Products of
// matrices are the library's.
//
// Matrices are worked on in *strips*: blockIdx.x says which columns, blockIdx.y which rows. The threads of a block stand
// in rows of `lanes`, each with WIDE columns (16 bytes) if `vector` is set and with one column otherwise. So a
// thread keeps its columns, and sums over rows need only one exchange, at the end. blockIdx.z is the member of an
// ensemble, whose matrices lie one behind the other and whose biases are `b_stride` or `db_stride` elements apart.

const int WIDE = per_access<STORED>;
const int THREADS = 256;

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

// z = product + b,   y = act(z).   product, z, y (rows, columns), b (columns,). All three may be one memory; z is
// null if it is not asked for.
extern "C" __global__ void __launch_bounds__(256) bias_activate(
    int activation, const STORED* product, const STORED* __restrict__ b, STORED* z, STORED* y, i64 rows, int columns,
    int lanes, int vector, i64 b_stride) {
  product += blockIdx.z * rows * columns;
  b += blockIdx.z * b_stride;
  if (z) z += blockIdx.z * rows * columns;
  y += blockIdx.z * rows * columns;
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
    REAL* kept = shared + threadIdx.x * N;  // the total, seldom touched: registers are dear here
    store(kept, Pack<REAL, N>{});
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
        Pack<REAL, N> sum = load<N>(kept);
#pragma unroll
        for (int j = 0; j < N; ++j) {
          sum.at[j] += some[j];
          some[j] = 0;
        }
        store(kept, sum);
      }
    }
    const Pack<REAL, N> sum = load<N>(kept);
#pragma unroll
    for (int j = 0; j < N; ++j) total[j] = sum.at[j] + some[j];
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
// `saved` is null for the identity, which does not read it; `dz` is null if it is dy and would not change. With
// several blocks per strip the sums of each go to `partials` (gridDim.z, gridDim.y, columns), and the last one to
// finish, found by `tickets` (gridDim.z, gridDim.x), adds them up. db is the sum of dz as it is stored: a bias is a weight whose input is 1, and its
// gradient is what the product of those ones and dz would be. (No __restrict__ on what other blocks write: a compiler
// that believes it may read before the barrier.)
extern "C" __global__ void __launch_bounds__(256) activation_backward(
    int activation, const STORED* __restrict__ saved, const STORED* dy, STORED* dz, REAL* __restrict__ db,
    REAL* partials, u32* tickets, i64 rows, int columns, int lanes, int vector, i64 db_stride) {
  if (saved) saved += blockIdx.z * rows * columns;
  dy += blockIdx.z * rows * columns;
  if (dz) dz += blockIdx.z * rows * columns;
  db += blockIdx.z * db_stride;
  if (partials) partials += (i64)blockIdx.z * gridDim.y * columns;
  if (tickets) tickets += blockIdx.z * gridDim.x;
  __shared__ Pack<REAL, WIDE> packs[THREADS];
  REAL* shared = packs[0].at;
  if (vector) {
    activation_backward_strip<WIDE, 4>(
        activation, saved, dy, dz, db, partials, tickets, rows, columns, lanes, shared);
  } else {
    activation_backward_strip<1, 8>(activation, saved, dy, dz, db, partials, tickets, rows, columns, lanes, shared);
  }
}
