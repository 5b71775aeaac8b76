// Columns: side by side, cut out, and each times a factor. Everything is computed in REAL; rows are STORED, factors REAL.
//
// With a model axis, `rows` are those of all members, one member below the other. What all members share has fewer rows,
// and is read again for each.

// out = [left | right].   out (rows, columns), left (left_rows, left_columns), right (right_rows, columns - left_columns).
extern "C" __global__ void __launch_bounds__(256) join_columns(
    const STORED* __restrict__ left, const STORED* __restrict__ right, STORED* __restrict__ out, i64 rows, i64 left_rows,
    i64 right_rows, int left_columns, int columns) {
  const i64 stride = (i64)gridDim.x * blockDim.x, size = rows * columns;
  for (i64 e = (i64)blockIdx.x * blockDim.x + threadIdx.x; e < size; e += stride) {
    const i64 row = e / columns;
    const int column = (int)(e % columns);
    out[e] = column < left_columns
                 ? left[row % left_rows * left_columns + column]
                 : right[row % right_rows * (columns - left_columns) + column - left_columns];
  }
}

// out = source[:, first : first + columns], or out += it if `adds`.   source (rows, columns_in), out (rows, columns).
extern "C" __global__ void __launch_bounds__(256) take_columns(
    const STORED* __restrict__ source, STORED* __restrict__ out, i64 rows, int columns_in, int columns, int first,
    int adds) {
  const i64 stride = (i64)gridDim.x * blockDim.x, size = rows * columns;
  for (i64 e = (i64)blockIdx.x * blockDim.x + threadIdx.x; e < size; e += stride) {
    const STORED found = source[e / columns * columns_in + first + e % columns];
    out[e] = adds ? narrow<STORED>(widen(out[e]) + widen(found)) : found;
  }
}

// out = x scale; out may be x.   out (rows, columns), x (x_rows, columns), scale (members, columns), the members' factors
// `scale_stride` apart, each for `member_rows` rows.
extern "C" __global__ void __launch_bounds__(256) scale_columns(
    const STORED* x, const REAL* __restrict__ scale, STORED* out, i64 rows, i64 x_rows, i64 member_rows, i64 scale_stride,
    int columns) {
  const i64 stride = (i64)gridDim.x * blockDim.x, size = rows * columns;
  for (i64 e = (i64)blockIdx.x * blockDim.x + threadIdx.x; e < size; e += stride) {
    const i64 row = e / columns, column = e % columns;
    const REAL factor = scale[row / member_rows * scale_stride + column];
    out[e] = narrow<STORED>(widen(x[row % x_rows * columns + column]) * factor);
  }
}

template <int N, int UNROLL>
__device__ __forceinline__ void scale_columns_backward_strip(
    const STORED* dy, const STORED* x, const REAL* scale, STORED* dx, REAL* dscale, REAL* partials, u32* tickets,
    i64 rows, int columns, int lanes, REAL* shared) {
  const Place<N> place(columns, lanes);
  Total<N> total;
  if (place.works) {
    REAL factor[N];
    load_reals(scale + place.column, factor);
    int groups = 0;
    for (i64 r = place.first; r < rows; r += place.step * UNROLL) {
      Pack<STORED, N> g[UNROLL] = {}, v[UNROLL] = {};
#pragma unroll
      for (int i = 0; i < UNROLL; ++i) {
        const i64 row = r + i * place.step, at = row * columns + place.column;
        if (row < rows) {
          g[i] = load<N>(dy + at);
          v[i] = load<N>(x + at);
        }
      }
#pragma unroll
      for (int i = 0; i < UNROLL; ++i) {
        const i64 row = r + i * place.step;
        REAL product[N], scaled[N];
#pragma unroll
        for (int j = 0; j < N; ++j) {
          const REAL d = widen(g[i].at[j]);
          product[j] = d * widen(v[i].at[j]);
          scaled[j] = d * factor[j];
        }
        total.add(product);
        if (dx && row < rows) store_narrowed(dx + row * columns + place.column, scaled);
      }
      if (++groups == GROUPS) {
        groups = 0;
        total.settle();
      }
    }
    total.settle();
  }
  REAL sum = strip_sum<THREADS>(total.all, lanes, shared);
  if (gridDim.y > 1) {
    if (place.has()) partials[(i64)blockIdx.y * columns + place.mine()] = sum;
    if (!comes_last(gridDim.y, tickets + blockIdx.x)) return;
    REAL part[N];
    sum_of_blocks(place, partials, part);
    sum = strip_sum<THREADS>(part, lanes, shared);
  }
  if (place.has()) dscale[place.mine()] = sum;
}

// dscale = sum_rows(dy x),   dx = dy scale, unless it is null; dx may be dy.   dy, dx (members, rows, columns), x the same
// or (rows, columns), which `shares_x` says; scale, dscale (members, columns), the members' so many elements apart.
//
// blockIdx.z is the member. With several blocks per strip the sums of each go to `partials` (members, gridDim.y, columns),
// and the last one to finish, found by `tickets` (members, gridDim.x), adds them up.
extern "C" __global__ void __launch_bounds__(256) scale_columns_backward(
    const STORED* dy, const STORED* __restrict__ x, const REAL* __restrict__ scale, STORED* dx, REAL* dscale,
    REAL* partials, u32* tickets, i64 rows, i64 scale_stride, i64 dscale_stride, int columns, int shares_x, int lanes,
    int vector) {
  __shared__ Pack<REAL, WIDE> packs[THREADS];
  REAL* shared = packs[0].at;
  const i64 member = blockIdx.z, before = member * rows * columns;
  dy += before;
  if (!shares_x) x += before;
  if (dx) dx += before;
  scale += member * scale_stride;
  dscale += member * dscale_stride;
  if (gridDim.y > 1) {
    partials += member * gridDim.y * columns;
    tickets += member * gridDim.x;
  }
  if (vector) {
    scale_columns_backward_strip<WIDE, (WIDE > 4 ? 1 : 4)>(  // rows under way, as many as registers hold
        dy, x, scale, dx, dscale, partials, tickets, rows, columns, lanes, shared);
  } else {
    scale_columns_backward_strip<1, 2>(
        dy, x, scale, dx, dscale, partials, tickets, rows, columns, lanes, shared);
  }
}
