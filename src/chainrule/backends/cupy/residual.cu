// The sum at the end of a residual connection, element by element. Computed in REAL; all arrays are STORED.

const int WIDE = per_access<STORED>;

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
