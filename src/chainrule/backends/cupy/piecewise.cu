// Piecewise-linear encodings: numbers to fractions of the pieces that they have passed. Rows are STORED, pieces REAL.
//
// With a model axis, `rows` are those of all members, one member below the other; an x that all members share has fewer.

// y = clip((x[column] - start) / width, low, high), one thread per element of y.   x (x_rows, columns_in), y (rows, columns),
// all else (columns,).
extern "C" __global__ void __launch_bounds__(256) piecewise_linear(
    const STORED* __restrict__ x, const i64* __restrict__ columns_of_x, const REAL* __restrict__ start,
    const REAL* __restrict__ width, const REAL* __restrict__ low, const REAL* __restrict__ high, STORED* __restrict__ y,
    i64 rows, i64 x_rows, int columns_in, int columns) {
  const i64 stride = (i64)gridDim.x * blockDim.x, size = rows * columns;
  for (i64 e = (i64)blockIdx.x * blockDim.x + threadIdx.x; e < size; e += stride) {
    const i64 row = e / columns;
    const int o = (int)(e % columns);
    REAL z = (widen(x[row % x_rows * columns_in + columns_of_x[o]]) - start[o]) / width[o];
    z = z < low[o] ? low[o] : z;  // a nan stays
    y[e] = narrow<STORED>(z > high[o] ? high[o] : z);
  }
}

// dx = dy + sum(dy / width) over the fractions of the column that are neither at their lower nor at their upper limit, one
// thread per element of dx.   dy, y (rows, columns), dx (rows, columns_in), first (columns_in + 1,).
extern "C" __global__ void __launch_bounds__(256) piecewise_linear_backward(
    const STORED* __restrict__ dy, const STORED* __restrict__ y, const REAL* __restrict__ width,
    const REAL* __restrict__ low, const REAL* __restrict__ high, const i64* __restrict__ first, STORED* __restrict__ dx,
    i64 rows, int columns_in, int columns) {
  const i64 stride = (i64)gridDim.x * blockDim.x, size = rows * columns_in;
  for (i64 e = (i64)blockIdx.x * blockDim.x + threadIdx.x; e < size; e += stride) {
    const i64 row = e / columns_in;
    const int column = (int)(e % columns_in);
    const STORED *g = dy + row * columns, *fractions = y + row * columns;
    REAL sum = widen(g[column]);
    for (i64 o = first[column]; o < first[column + 1]; ++o) {
      const REAL z = widen(fractions[o]);
      if (low[o] < z && z < high[o]) sum += widen(g[o]) / width[o];
    }
    dx[e] = narrow<STORED>(sum);
  }
}
