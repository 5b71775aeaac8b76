// What a product of matrices leaves to a kernel: the sum of its parts, if its k was divided.

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
