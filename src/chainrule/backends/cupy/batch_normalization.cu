// Batch normalisation, x^ = (x - mean) inverse_std by the statistics of each column. Everything is computed in REAL; x and
// y are STORED.

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

// y = gain (x - mean) spread + bias, with spread the inverse of the standard deviation or, if `inverts`, the variance
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

// Mean and variance are found as those of x - shift, shift the first row: if the values of a column are large and
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

// Mean, inverse standard deviation and running statistics of each column; and y if one block has a strip to itself
// (if not, normalize_columns follows). x, y (rows, columns); all else (columns,). `partials` (2, gridDim.y,
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
