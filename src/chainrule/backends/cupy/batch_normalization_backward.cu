// The backward pass through batch normalisation, and the sums over columns that layer normalisation has. Everything is
// computed in REAL; x, dy and dx are STORED.

// dx = gain inverse_std (dy - along_one - x^ along_x), on the rows of this thread; dx may be dy.
template <int N>
__device__ __forceinline__ void input_gradient_strip(
    const Place<N>& place, const STORED* dy, const STORED* x, const REAL* gain, const REAL* mean,
    const REAL* inverse_std, const REAL (&along_one)[N], const REAL (&along_x)[N], STORED* dx, i64 rows) {
  if (!place.works) return;
  REAL center[N], scale[N], factor[N];
  load_reals(mean + place.column, center);
  load_reals(inverse_std + place.column, scale);
  load_reals(gain + place.column, factor);
#pragma unroll
  for (int j = 0; j < N; ++j) factor[j] *= scale[j];
  for (i64 r = place.first; r < rows; r += place.step) {
    const i64 at = r * place.columns + place.column;
    REAL g[N], v[N];
    load_widened(dy + at, g);
    load_widened(x + at, v);
#pragma unroll
    for (int j = 0; j < N; ++j) g[j] = (g[j] - (v[j] - center[j]) * scale[j] * along_x[j] - along_one[j]) * factor[j];
    store_narrowed(dx + at, g);
  }
}

// dgain = sum_rows(dy x^),   dbias = sum_rows(dy), with the statistics of columns or, if BY_ROW, of rows; and dx if
// statistics are of columns, it is asked for and one block has a strip to itself.
template <int N, int UNROLL, bool BY_ROW>
__device__ __forceinline__ void parameter_gradients_strip(
    const STORED* dy, const STORED* __restrict__ x, const REAL* gain, const REAL* mean, const REAL* inverse_std,
    STORED* dx, REAL* dgain, REAL* dbias, REAL* partials, u32* tickets, i64 rows, int columns, int lanes, REAL* shared,
    REAL* of_column) {
  const Place<N> place(columns, lanes);
  Total<N> gains, biases;
  if (place.works) {
    REAL center[N] = {};
    if (!BY_ROW) load_reals(mean + place.column, center);
    int groups = 0;
    for (i64 r = place.first; r < rows; r += place.step * UNROLL) {
      Pack<STORED, N> g[UNROLL] = {}, v[UNROLL] = {};
      REAL row_center[UNROLL] = {}, row_scale[UNROLL] = {};
#pragma unroll
      for (int i = 0; i < UNROLL; ++i) {
        const i64 row = r + i * place.step, at = row * columns + place.column;
        if (row < rows) {
          g[i] = load<N>(dy + at);
          v[i] = load<N>(x + at);
          if (BY_ROW) row_center[i] = mean[row], row_scale[i] = inverse_std[row];
        }
      }
#pragma unroll
      for (int i = 0; i < UNROLL; ++i) {
        const bool there = r + i * place.step < rows;
        REAL d[N], product[N];
#pragma unroll
        for (int j = 0; j < N; ++j) {
          d[j] = widen(g[i].at[j]);
          const REAL distance = widen(v[i].at[j]) - (BY_ROW ? row_center[i] : center[j]);
          product[j] = there ? d[j] * (BY_ROW ? distance * row_scale[i] : distance) : REAL(0);
        }
        gains.add(product);
        biases.add(d);
      }
      if (++groups == GROUPS) {
        groups = 0;
        gains.settle();
        biases.settle();
      }
    }
    gains.settle();
    biases.settle();
  }
  REAL gain_sum = strip_sum<THREADS>(gains.all, lanes, shared);
  REAL bias_sum = strip_sum<THREADS>(biases.all, lanes, shared);
  // What all rows have in common is multiplied once.
  if (!BY_ROW && place.has()) gain_sum *= inverse_std[place.mine()];
  if (gridDim.y > 1) {
    REAL* more = partials + (i64)gridDim.y * columns;
    if (place.has()) {
      partials[(i64)blockIdx.y * columns + place.mine()] = gain_sum;
      more[(i64)blockIdx.y * columns + place.mine()] = bias_sum;
    }
    if (!comes_last(gridDim.y, tickets + blockIdx.x)) return;
    REAL sum[N];
    sum_of_blocks(place, partials, sum);
    gain_sum = strip_sum<THREADS>(sum, lanes, shared);
    sum_of_blocks(place, more, sum);
    bias_sum = strip_sum<THREADS>(sum, lanes, shared);
  }
  if (place.has()) {
    dgain[place.mine()] = gain_sum;
    dbias[place.mine()] = bias_sum;
  }
  if (BY_ROW || gridDim.y > 1 || !dx) return;
  REAL along_one[N], along_x[N];
  to_columns(place, bias_sum / rows, of_column, along_one);
  to_columns(place, gain_sum / rows, of_column, along_x);
  input_gradient_strip(place, dy, x, gain, mean, inverse_std, along_one, along_x, dx, rows);
}

// dgain, dbias and, if one block has a strip to itself, dx (if not, batch_norm_input_gradient follows); dx is null if it
// is not asked for, and may be dy. dy, x, dx (rows, columns); all else (columns,), memory for sums as for batch_norm.
extern "C" __global__ void __launch_bounds__(256) batch_norm_backward(
    const STORED* dy, const STORED* __restrict__ x, const REAL* __restrict__ gain, const REAL* __restrict__ mean,
    const REAL* __restrict__ inverse_std, STORED* dx, REAL* dgain, REAL* dbias, REAL* partials, u32* tickets, i64 rows,
    int columns, int lanes, int vector) {
  __shared__ Pack<REAL, WIDE> packs[THREADS];
  __shared__ REAL of_column[THREADS];
  REAL* shared = packs[0].at;
  if (vector) {
    parameter_gradients_strip<WIDE, 4, false>(
        dy, x, gain, mean, inverse_std, dx, dgain, dbias, partials, tickets, rows, columns, lanes, shared, of_column);
  } else {
    parameter_gradients_strip<1, 8, false>(
        dy, x, gain, mean, inverse_std, dx, dgain, dbias, partials, tickets, rows, columns, lanes, shared, of_column);
  }
}

template <int N>
__device__ __forceinline__ void batch_norm_input_gradient_strip(
    const STORED* dy, const STORED* x, const REAL* gain, const REAL* mean, const REAL* inverse_std, const REAL* dgain,
    const REAL* dbias, STORED* dx, i64 rows, int columns, int lanes) {
  const Place<N> place(columns, lanes);
  REAL along_one[N] = {}, along_x[N] = {};
  if (place.works) {
    load_reals(dbias + place.column, along_one);
    load_reals(dgain + place.column, along_x);
#pragma unroll
    for (int j = 0; j < N; ++j) along_one[j] /= rows, along_x[j] /= rows;
  }
  input_gradient_strip(place, dy, x, gain, mean, inverse_std, along_one, along_x, dx, rows);
}

// dx = gain inverse_std (dy - dbias / rows - x^ dgain / rows).
extern "C" __global__ void __launch_bounds__(256) batch_norm_input_gradient(
    const STORED* dy, const STORED* __restrict__ x, const REAL* __restrict__ gain, const REAL* __restrict__ mean,
    const REAL* __restrict__ inverse_std, const REAL* __restrict__ dgain, const REAL* __restrict__ dbias, STORED* dx,
    i64 rows, int columns, int lanes, int vector) {
  if (vector) {
    batch_norm_input_gradient_strip<WIDE>(dy, x, gain, mean, inverse_std, dgain, dbias, dx, rows, columns, lanes);
  } else {
    batch_norm_input_gradient_strip<1>(dy, x, gain, mean, inverse_std, dgain, dbias, dx, rows, columns, lanes);
  }
}

// The same sums with the mean (rows,) and inverse_std (rows,) of each row.
extern "C" __global__ void __launch_bounds__(256) layer_norm_parameter_gradients(
    const STORED* __restrict__ dy, const STORED* __restrict__ x, const REAL* __restrict__ mean,
    const REAL* __restrict__ inverse_std, REAL* dgain, REAL* dbias, REAL* partials, u32* tickets, i64 rows, int columns,
    int lanes, int vector) {
  __shared__ Pack<REAL, WIDE> packs[THREADS];
  REAL* shared = packs[0].at;
  if (vector) {
    parameter_gradients_strip<WIDE, 4, true>(
        dy, x, nullptr, mean, inverse_std, nullptr, dgain, dbias, partials, tickets, rows, columns, lanes, shared,
        nullptr);
  } else {
    parameter_gradients_strip<1, 8, true>(
        dy, x, nullptr, mean, inverse_std, nullptr, dgain, dbias, partials, tickets, rows, columns, lanes, shared,
        nullptr);
  }
}
