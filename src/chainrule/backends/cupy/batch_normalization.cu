// Batch normalisation, x^ = (x - mean) inverse_std by the statistics of each column, and the way back; also the sums over
// columns that layer normalisation has. Everything is computed in REAL; x, y, dy and dx are STORED.
//
// Columns are worked on in *strips*, as in layers.cu: blockIdx.x says which columns, blockIdx.y which rows, and a thread has
// N columns (16 bytes, or one) of every so many rows. A block that has a strip to itself goes on at once with what the
// strip's statistics are for; several leave that to a launch of its own.

const int THREADS = 256, WARPS = THREADS / 32;
const int WIDE = per_access<STORED>;

// ---- what threads of a strip share -----------------------------------------------------------------------------------

// Where a thread stands.
template <int N>
struct Place {
  int lanes, height;  // threads side by side, rows that the block works on at once
  int row;            // of the threads of the block
  i64 first, step;    // the rows of the matrix that are its own
  i64 column, columns;
  bool works;

  __device__ __forceinline__ Place(int columns, int lanes) : lanes(lanes), height(THREADS / lanes), columns(columns) {
    row = (int)threadIdx.x / lanes;
    first = (i64)blockIdx.y * height + row;
    step = (i64)gridDim.y * height;
    column = ((i64)blockIdx.x * lanes + (int)threadIdx.x % lanes) * N;
    works = row < height && column < columns;
  }
  // The column that this thread has the sum of, when a strip has been added up, and whether there is one.
  __device__ __forceinline__ i64 mine() const { return (i64)blockIdx.x * lanes * N + threadIdx.x; }
  __device__ __forceinline__ bool has() const { return (int)threadIdx.x < lanes * N && mine() < columns; }
  // Where the columns of this thread stand among those of the strip.
  __device__ __forceinline__ int within() const { return (int)threadIdx.x % lanes * N; }
};

// One number a column, from the thread that has it to those that work on the column.
template <int N>
__device__ __forceinline__ void to_columns(const Place<N>& place, REAL mine, REAL* of_column, REAL (&to)[N]) {
  __syncthreads();
  of_column[threadIdx.x] = mine;
  __syncthreads();
#pragma unroll
  for (int j = 0; j < N; ++j) to[j] = place.works ? of_column[place.within() + j] : REAL(0);
}

// A long sum in two levels, so that errors of rounding stay small however many rows there are.
template <int N>
struct Total {
  REAL some[N], all[N];
  __device__ __forceinline__ Total() {
#pragma unroll
    for (int j = 0; j < N; ++j) some[j] = all[j] = 0;
  }
  __device__ __forceinline__ void add(const REAL (&x)[N]) {
#pragma unroll
    for (int j = 0; j < N; ++j) some[j] += x[j];
  }
  __device__ __forceinline__ void settle() {
#pragma unroll
    for (int j = 0; j < N; ++j) all[j] += some[j], some[j] = 0;
  }
};

const int GROUPS = 16;  // additions of the lower level to one of the upper

// The sum over the blocks of a strip of what each has left in `partials` (gridDim.y, columns).
template <int N>
__device__ __forceinline__ void sum_of_blocks(const Place<N>& place, const REAL* partials, REAL (&sum)[N]) {
#pragma unroll
  for (int j = 0; j < N; ++j) sum[j] = 0;
  if (!place.works) return;
#pragma unroll 4
  for (int s = place.row; s < (int)gridDim.y; s += place.height) {
    REAL partial[N];
    load_reals(partials + s * place.columns + place.column, partial);
#pragma unroll
    for (int j = 0; j < N; ++j) sum[j] += partial[j];
  }
}

// ---- forward -----------------------------------------------------------------------------------------------------------

// y = gain (x - mean) inverse_std + bias, on the rows of this thread; y may be x.
template <int N>
__device__ __forceinline__ void normalize_strip(
    const Place<N>& place, const STORED* x, const REAL (&mean)[N], const REAL (&inverse_std)[N], const REAL* gain,
    const REAL* bias, STORED* y, i64 rows) {
  if (!place.works) return;
  REAL factor[N], addend[N];
  load_reals(gain + place.column, factor);
  load_reals(bias + place.column, addend);
  for (i64 r = place.first; r < rows; r += place.step) {
    const i64 at = r * place.columns + place.column;
    REAL v[N];
    load_widened(x + at, v);
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] = (v[j] - mean[j]) * inverse_std[j] * factor[j] + addend[j];
    store_narrowed(y + at, v);
  }
}

// y = gain (x - mean) spread + bias, with spread the inverse of the standard deviation or, where `inverts`, the variance
// that it is to be made of. x, y (rows, columns), which may be one memory; all else (columns,).
template <int N>
__device__ __forceinline__ void normalize_columns_strip(
    const STORED* x, const REAL* mean, const REAL* spread, int inverts, REAL eps, const REAL* gain, const REAL* bias,
    STORED* y, i64 rows, int columns, int lanes) {
  const Place<N> place(columns, lanes);
  if (!place.works) return;
  REAL center[N], inverse_std[N];
  load_reals(mean + place.column, center);
  load_reals(spread + place.column, inverse_std);
  if (inverts) {
#pragma unroll
    for (int j = 0; j < N; ++j) inverse_std[j] = 1 / sqrt(inverse_std[j] + eps);
  }
  normalize_strip(place, x, center, inverse_std, gain, bias, y, rows);
}

extern "C" __global__ void __launch_bounds__(256) normalize_columns(
    const STORED* x, const REAL* __restrict__ mean, const REAL* __restrict__ spread, int inverts, REAL eps,
    const REAL* __restrict__ gain, const REAL* __restrict__ bias, STORED* y, i64 rows, int columns, int lanes,
    int vector) {
  if (vector) {
    normalize_columns_strip<WIDE>(x, mean, spread, inverts, eps, gain, bias, y, rows, columns, lanes);
  } else {
    normalize_columns_strip<1>(x, mean, spread, inverts, eps, gain, bias, y, rows, columns, lanes);
  }
}

// How many of the rows are those of block `block` of a strip.
__device__ __forceinline__ i64 rows_of_block(i64 rows, int height, int block) {
  const i64 turns = (rows + height - 1) / height, mine = (turns - block + gridDim.y - 1) / gridDim.y;
  return mine * height - ((turns - 1) % gridDim.y == block ? turns * height - rows : 0);
}

// What batch_norm writes for each column.
struct ColumnStatistics {
  const i64* state;
  REAL eps, momentum, *mean, *inverse_std, *running_mean, *running_var;
};

// Mean and variance are found as those of x - shift, shift the first row: where the values of a column are large and
// close to each other, their differences still have all digits. UNROLL rows at a time have a mean and a sum of squared
// distances from it, which are merged with those of the rows before (Chan, Golub, LeVeque 1983, equation 2.1).
template <int N, int UNROLL>
__device__ __forceinline__ void batch_norm_strip(
    const STORED* __restrict__ x, const REAL* gain, const REAL* bias, const ColumnStatistics& to, STORED* __restrict__ y,
    REAL* partials, u32* tickets, i64 rows, int columns, int lanes, REAL* shared, REAL* of_column) {
  const Place<N> place(columns, lanes);
  REAL shift[N] = {}, mean[N] = {}, squares[N] = {}, part[N];
  i64 count = 0;
  if (place.works) {
    load_widened(x + place.column, shift);
    for (i64 r = place.first; r < rows; r += place.step * UNROLL) {
      Pack<STORED, N> packs[UNROLL] = {};
      int valid = 0;
#pragma unroll
      for (int i = 0; i < UNROLL; ++i) {
        if (r + i * place.step < rows) {
          packs[i] = load<N>(x + (r + i * place.step) * columns + place.column);
          ++valid;
        }
      }
      count += valid;
      const REAL inverse = REAL(1) / valid, share = REAL(valid) / REAL(count);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        REAL d[UNROLL], center = 0, distances = 0;
#pragma unroll
        for (int i = 0; i < UNROLL; ++i) {
          d[i] = i < valid ? widen(packs[i].at[j]) - shift[j] : REAL(0);
          center += d[i];
        }
        center *= inverse;
#pragma unroll
        for (int i = 0; i < UNROLL; ++i) distances += i < valid ? (d[i] - center) * (d[i] - center) : REAL(0);
        const REAL apart = center - mean[j];
        mean[j] += apart * share;
        // Of the first rows there is no distance from those before: 0 times one whose square overflows would be nan.
        squares[j] += distances + (count > valid ? apart * apart * (share * REAL(count - valid)) : REAL(0));
      }
    }
  }
  // The threads of a block, then the blocks: the mean first, then the squared distances from it.
  const i64 rows_here = rows_of_block(rows, place.height, (int)blockIdx.y);
#pragma unroll
  for (int j = 0; j < N; ++j) part[j] = mean[j] * count;
  REAL sum = strip_sum<THREADS>(part, lanes, shared), center[N];
  to_columns(place, sum / rows_here, of_column, center);
#pragma unroll
  for (int j = 0; j < N; ++j) squares[j] += count ? (mean[j] - center[j]) * (mean[j] - center[j]) * count : REAL(0);
  REAL distances = strip_sum<THREADS>(squares, lanes, shared);
  if (gridDim.y > 1) {
    REAL* more = partials + (i64)gridDim.y * columns;
    if (place.has()) {
      partials[(i64)blockIdx.y * columns + place.mine()] = sum;
      more[(i64)blockIdx.y * columns + place.mine()] = distances;
    }
    if (!comes_last(gridDim.y, tickets + blockIdx.x)) return;
    sum_of_blocks(place, partials, part);
    sum = strip_sum<THREADS>(part, lanes, shared);
    to_columns(place, sum / rows, of_column, center);
    sum_of_blocks(place, more, squares);
    if (place.works) {
      for (int s = place.row; s < (int)gridDim.y; s += place.height) {
        const i64 n = rows_of_block(rows, place.height, s);
        load_reals(partials + (i64)s * columns + place.column, part);
#pragma unroll
        for (int j = 0; j < N; ++j) {
          const REAL apart = part[j] / n - center[j];
          squares[j] += apart * apart * n;
        }
      }
    }
    distances = strip_sum<THREADS>(squares, lanes, shared);
  }
  REAL mean_here = 0, inverse_std_here = 0;
  if (place.has()) {
    const i64 c = place.mine();
    const REAL var = distances / rows;
    mean_here = widen(x[c]) + sum / rows;
    inverse_std_here = 1 / sqrt(var + to.eps);
    to.mean[c] = mean_here;
    to.inverse_std[c] = inverse_std_here;
    if (rows > 1 && to.state[HALTED] == RUNNING) {
      to.running_mean[c] += to.momentum * (mean_here - to.running_mean[c]);
      to.running_var[c] += to.momentum * (var * (REAL(rows) / REAL(rows - 1)) - to.running_var[c]);
    }
  }
  if (gridDim.y > 1) return;
  to_columns(place, mean_here, of_column, mean);
  to_columns(place, inverse_std_here, of_column, squares);
  normalize_strip(place, x, mean, squares, gain, bias, y, rows);
}

// Mean, inverse standard deviation and running statistics of each column; and y where one block has a strip to itself
// (normalize_columns follows where it has not). x, y (rows, columns); all else (columns,). `partials` (2, gridDim.y,
// columns) and `tickets` (gridDim.x,) are for the sums of several blocks.
extern "C" __global__ void __launch_bounds__(256) batch_norm(
    const STORED* __restrict__ x, const REAL* __restrict__ gain, const REAL* __restrict__ bias,
    const i64* __restrict__ state, REAL eps, REAL momentum, REAL* mean, REAL* inverse_std, REAL* running_mean,
    REAL* running_var, STORED* __restrict__ y, REAL* partials, u32* tickets, i64 rows, int columns, int lanes,
    int vector) {
  __shared__ Pack<REAL, WIDE> packs[THREADS];
  __shared__ REAL of_column[THREADS];
  const ColumnStatistics to = {state, eps, momentum, mean, inverse_std, running_mean, running_var};
  REAL* shared = packs[0].at;
  if (vector) {
    batch_norm_strip<WIDE, 4>(x, gain, bias, to, y, partials, tickets, rows, columns, lanes, shared, of_column);
  } else {
    batch_norm_strip<1, 8>(x, gain, bias, to, y, partials, tickets, rows, columns, lanes, shared, of_column);
  }
}

// ---- backward --------------------------------------------------------------------------------------------------------

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

// dgain = sum_rows(dy x^),   dbias = sum_rows(dy), with the statistics of columns or, where BY_ROW, of rows; and dx where
// statistics are of columns, someone wants it and one block has a strip to itself.
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

// dgain, dbias and, where one block has a strip to itself, dx (batch_norm_input_gradient follows where it has not); dx
// is null where no one wants it, and may be dy. dy, x, dx (rows, columns); all else (columns,), memory for sums as above.
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
