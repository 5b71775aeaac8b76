// What all kernels share: types, conversions, reductions in a fixed order. Plain CUDA C++, no header, no inline PTX,
// so that the same text compiles for a CPU and is tested there.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// state[] and totals[][] as in backends/contract/backend.py
enum { STEP = 0, BATCH = 1, HALTED = 2 };
enum { LOSS = 0, WEIGHT = 1, CORRECT = 2 };
const i64 RUNNING = -1;

// ---- bfloat16: the upper half of a float32 ------------------------------------------------------------------------

struct bf16 {
  unsigned short bits;
};

__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ double widen(double x) { return x; }

template <class T>
struct Narrow;
template <>
struct Narrow<float> {
  __device__ __forceinline__ static float from(float x) { return x; }
};
template <>
struct Narrow<double> {
  __device__ __forceinline__ static double from(double x) { return x; }
};
template <>
struct Narrow<bf16> {
  // Rounds to nearest, ties to even; a nan stays one whatever its lower bits were.
  __device__ __forceinline__ static bf16 from(float x) {
    u32 bits = __float_as_uint(x);
    bf16 out;
    out.bits = (bits & 0x7fffffffu) > 0x7f800000u ? (unsigned short)((bits >> 16) | 0x40u)
                                                  : (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    return out;
  }
};
template <class T, class X>
__device__ __forceinline__ T narrow(X x) {
  return Narrow<T>::from(x);
}

// ---- memory, up to 16 bytes at a time -----------------------------------------------------------------------------

// N elements that lie side by side, read or written by as few instructions as the alignment allows.
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T at[N];
};
template <int N, class T>
__device__ __forceinline__ Pack<T, N> load(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <int N, class T>
__device__ __forceinline__ void store(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// How many T one access of 16 bytes moves.
template <class T>
constexpr int per_access = 16 / sizeof(T);

__device__ __forceinline__ bool is_aligned(const void* p) { return ((u64)p & 15) == 0; }

// N numbers side by side, STORED in memory and REAL in registers.
template <int N>
__device__ __forceinline__ void widen(const Pack<STORED, N>& from, REAL (&to)[N]) {
#pragma unroll
  for (int j = 0; j < N; ++j) to[j] = widen(from.at[j]);
}

template <int N>
__device__ __forceinline__ Pack<STORED, N> narrow(const REAL (&from)[N]) {
  Pack<STORED, N> to;
#pragma unroll
  for (int j = 0; j < N; ++j) to.at[j] = narrow<STORED>(from[j]);
  return to;
}

template <int N>
__device__ __forceinline__ void load_widened(const STORED* from, REAL (&to)[N]) {
  widen(load<N>(from), to);
}

template <int N>
__device__ __forceinline__ void store_narrowed(STORED* to, const REAL (&from)[N]) {
  store(to, narrow(from));
}

template <int N>
__device__ __forceinline__ void load_reals(const REAL* from, REAL (&to)[N]) {
  const Pack<REAL, N> pack = load<N>(from);
#pragma unroll
  for (int j = 0; j < N; ++j) to[j] = pack.at[j];
}

// ---- sums over a block, in a fixed order --------------------------------------------------------------------------

// The sum of x over all threads of a block of `warps` full warps, in every thread. Every thread calls it.
template <int warps, class T>
__device__ __forceinline__ T block_sum(T x) {
  __shared__ T of_warp[warps];
  for (int mask = 16; mask; mask >>= 1) x += __shfl_xor_sync(0xffffffffu, x, mask);
  __syncthreads();  // an earlier call may still be read
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  T sum = of_warp[0];
  for (int warp = 1; warp < warps; ++warp) sum += of_warp[warp];
  return sum;
}

// The sums over the rows of threads of a block, each row of `lanes`: from the N columns of each thread to one column of
// each of the first lanes * N threads. `shared` has room for N of each thread. Every thread calls it.
template <int threads, int N>
__device__ __forceinline__ REAL strip_sum(const REAL (&mine)[N], int lanes, REAL* shared) {
  const int height = threads / lanes, width = lanes * N, t = threadIdx.x;
  const int column = t % width, part = t / width;
  const int parts = min(threads / width, 16);  // threads that share a column at first
  __syncthreads();                             // whoever still reads `shared` is done
  Pack<REAL, N> pack;
#pragma unroll
  for (int j = 0; j < N; ++j) pack.at[j] = mine[j];
  store(shared + t * N, pack);  // row t / lanes, columns from t % lanes * N
  __syncthreads();
  REAL sum = 0;
  if (part < parts) {
    for (int r = part; r < height; r += parts) sum += shared[r * width + column];
  }
  if (parts > 1) {
    __syncthreads();
    shared[t] = sum;
    __syncthreads();
    if (part == 0) {
      for (int p = 1; p < parts; ++p) sum += shared[p * width + column];
    }
  }
  return sum;
}

// ---- sums over a grid, in a fixed order ---------------------------------------------------------------------------

// True in all threads of the block that comes here last of so many, which then sees whatever the others wrote before
// they got here. `ticket` is 0 before and, since atomicInc wraps, after.
__device__ __forceinline__ bool comes_last(u32 blocks, u32* ticket) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicInc(ticket, blocks - 1) == blocks - 1;
  __syncthreads();
  if (last) __threadfence();
  return last;
}

// x = its sum over a row of the grid, in the block that gets true: the last to come. Each row, blockIdx.y, is a member of
// an ensemble and has gridDim.x elements of `partials` and one of `ticket`; a single block needs neither.
template <int warps>
__device__ __forceinline__ bool grid_sum(double& x, double* partials, u32* ticket) {
  x = block_sum<warps>(x);
  if (gridDim.x == 1) return true;
  partials += (i64)blockIdx.y * gridDim.x;
  ticket += blockIdx.y;
  if (threadIdx.x == 0) partials[blockIdx.x] = x;
  if (!comes_last(gridDim.x, ticket)) return false;
  x = 0;
  for (u32 i = threadIdx.x; i < gridDim.x; i += warps * 32) x += partials[i];
  x = block_sum<warps>(x);
  return true;
}

// ---- what all losses share ----------------------------------------------------------------------------------------
// Sums over a batch are in double precision and in a fixed order: of each block in `partials`, and these by the block
// that comes last, found by `ticket`. So a loss is one launch; with weights it is two, because no gradient can be
// written before the sum of the weights is known.
//
// All members of an ensemble are done at once: member j by row j of the grid. Logits and their gradients lie one member
// behind the other; what has a `..._stride` has the members so many elements apart, or is shared by them if that is 0.

// What a loss finds before it starts. Read early, because at the end all would wait for it.
struct Batch {
  i64 slot;
  bool runs;
  double weight;
  REAL factor;  // of row i's gradient, but for w_i
};

__device__ __forceinline__ Batch open(
    const i64* state, const double* total_weight, i64 weights_stride, i64 rows, double scale, int mean) {
  if (total_weight && weights_stride) total_weight += blockIdx.y;
  Batch batch;
  batch.slot = state[BATCH];
  batch.runs = state[HALTED] == RUNNING;
  batch.weight = total_weight ? *total_weight : (double)rows;
  // Weights that are all zero make every row of the gradient zero, whatever it is divided by.
  batch.factor = REAL(scale / (mean && batch.weight != 0 ? batch.weight : 1.0));
  return batch;
}

// The loss of the batch, from each thread's part of it, to the totals; a loss that is not finite halts the run (of all
// members: whichever of them writes it, it is the same number).
template <int warps>
__device__ __forceinline__ void close(
    const Batch& batch, double loss, double scale, i64* state, double* totals, i64 totals_stride, double* partials,
    u32* ticket) {
  if (grid_sum<warps>(loss, partials, ticket) && threadIdx.x == 0) {
    loss *= scale;
    totals += blockIdx.y * totals_stride;
    totals[batch.slot * 3 + LOSS] = loss;
    totals[batch.slot * 3 + WEIGHT] = batch.weight;
    if (batch.runs && !isfinite(loss)) state[HALTED] = state[STEP];
  }
}

// ---- the kinds of number that a `void*` may point to, numbered as in kernels.py ------------------------------------

enum Kind { FLOAT32, FLOAT64, BFLOAT16, FLOAT16, BOOL, UINT8, INT8, UINT16, INT16, UINT32, INT32, UINT64, INT64 };
