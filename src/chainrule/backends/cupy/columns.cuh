// What kernels over the columns of a matrix share, which normalise them or add them up.
//
// Columns are worked on in *strips*, as in layers.cu: blockIdx.x says which columns, blockIdx.y which rows, and a thread
// has N columns (16 bytes, or one) of every so many rows. A block that has a strip to itself continues at once with what
// the strip's statistics are for; several blocks leave that to a launch of its own.

const int THREADS = 256, WARPS = THREADS / 32;
const int WIDE = per_access<STORED>;

// The place of a thread.
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
