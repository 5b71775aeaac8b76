// What a product of matrices leaves to a kernel: the sum of its parts, if its k was divided, and a ReLU with its signs, if
// that of the product would make a nan 0.

const int ELEMENTS = 32, GROUPS = 8;

// out[i] = sum_p( parts[p, i] ), always added in the same order: each of the 8 groups of a block has every eighth part,
// then their sums are added. parts (number, count), those of the members of an ensemble one behind the other; out
// (count,), those of the members `out_stride` apart. blockIdx.y is the member.
extern "C" __global__ void __launch_bounds__(256) sum_of_parts(
    const REAL* __restrict__ parts, STORED* __restrict__ out, int number, i64 count, i64 out_stride) {
  const int lane = (int)threadIdx.x % ELEMENTS, group = (int)threadIdx.x / ELEMENTS;
  const i64 i = (i64)blockIdx.x * ELEMENTS + lane;
  parts += (i64)blockIdx.y * number * count;
  out += (i64)blockIdx.y * out_stride;
  REAL sum = 0;
  if (i < count) {
#pragma unroll 4
    for (int p = group; p < number; p += GROUPS) sum += parts[p * count + i];
  }
  __shared__ REAL sums[GROUPS][ELEMENTS];
  sums[group][lane] = sum;
  __syncthreads();
  if (group || i >= count) return;
#pragma unroll
  for (int other = 1; other < GROUPS; ++other) sum += sums[other][lane];
  out[i] = narrow<STORED>(sum);
}

// y = max(y, 0), a nan stays one, and signs = [y > 0], the bit of a column in the lowest bits first: as cublasLt lays them
// out, 8 columns in a byte, rows `step` bytes apart. y (rows, columns). A thread has a byte of signs; whole ones are read
// 16 bytes at a time if `vector` is set.
extern "C" __global__ void __launch_bounds__(256)
relu_signs(STORED* y, void* signs, i64 rows, int columns, int step, int vector) {
  const int N = 8, WIDE = per_access<STORED>;
  const int bytes = (columns + N - 1) / N;
  const i64 count = rows * bytes, stride = (i64)gridDim.x * blockDim.x;
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
    const i64 row = i / bytes;
    const int byte = (int)(i - row * bytes), width = min(N, columns - byte * N);
    STORED* at = y + row * columns + byte * N;
    const bool whole = vector && width == N;
    Pack<STORED, N> part = {};
    if (whole) {
#pragma unroll
      for (int j = 0; j < N; j += WIDE) *reinterpret_cast<Pack<STORED, WIDE>*>(part.at + j) = load<WIDE>(at + j);
    } else {
#pragma unroll 1
      for (int j = 0; j < width; ++j) part.at[j] = at[j];
    }
    u32 bits = 0;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const REAL x = widen(part.at[j]);
      if (x > 0) bits |= 1u << j;
      part.at[j] = narrow<STORED>(x < 0 ? REAL(0) : x);
    }
    if (whole) {
#pragma unroll
      for (int j = 0; j < N; j += WIDE) store(at + j, *reinterpret_cast<const Pack<STORED, WIDE>*>(part.at + j));
    } else {
#pragma unroll 1
      for (int j = 0; j < width; ++j) at[j] = part.at[j];
    }
    ((unsigned char*)signs)[row * step + byte] = (unsigned char)bits;
  }
}
