// Random numbers from counters: Philox4x32-10 (Salmon et al. 2011), as in backends/reference/philox.py.

struct Words {
  u32 at[4];
};

// The four words of block `block` of a stream.
__device__ __forceinline__ Words philox(u32 block, u32 counter1, u32 counter2, u32 counter3, u32 key0, u32 key1) {
  u32 c0 = block, c1 = counter1, c2 = counter2, c3 = counter3;
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const u32 high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
    const u32 high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
    c0 = high1 ^ c1 ^ key0, c1 = low1, c2 = high0 ^ c3 ^ key1, c3 = low0;
    key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

// out[e] = low + span u_e,   u_e = (word e >> 8) / 2^24
//
// One rounding an operation, never a fused multiply-add: the same bits on every device.
extern "C" __global__ void __launch_bounds__(256)
    uniform(REAL* __restrict__ out, i64 size, u32 key0, u32 key1, u32 counter1, u32 counter2, u32 counter3, double low,
            double span) {
  const i64 blocks = (size + 3) / 4, step = (i64)gridDim.x * blockDim.x;
  for (i64 block = (i64)blockIdx.x * blockDim.x + threadIdx.x; block < blocks; block += step) {
    const Words words = philox((u32)block, counter1, counter2, counter3, key0, key1);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const double u = (double)(words.at[j] >> 8) * (1.0 / 16777216);
      if (4 * block + j < size) out[4 * block + j] = (REAL)__dadd_rn(low, __dmul_rn(span, u));
    }
  }
}

// tagged[e] = word e above, e below: distinct numbers, which sorted have the elements of a permutation in their lower
// halves.
extern "C" __global__ void __launch_bounds__(256)
    permutation(u64* __restrict__ tagged, i64 size, u32 key0, u32 key1, u32 counter1, u32 counter2, u32 counter3) {
  const i64 blocks = (size + 3) / 4, step = (i64)gridDim.x * blockDim.x;
  for (i64 block = (i64)blockIdx.x * blockDim.x + threadIdx.x; block < blocks; block += step) {
    const Words words = philox((u32)block, counter1, counter2, counter3, key0, key1);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (4 * block + j < size) tagged[4 * block + j] = (u64)words.at[j] << 32 | (u64)(4 * block + j);
  }
}

// out_e = x_e factor if word e >= threshold, else 0.   out may be x. The first `packs` times EACH elements are moved 16
// bytes at a time. What varies from step to step is read from `state`: a recorded launch draws another mask each time.
//
// Of an ensemble each member has `size` elements, one member behind the other, and is a row of the grid; its number is in
// the counter, from bit MEMBER_SHIFT on.
const int MEMBER_SHIFT = 16;  // as in backends/contract/random.py
const int EACH = per_access<STORED> > 4 ? per_access<STORED> : 4;  // elements per thread at a time: whole blocks of Philox

extern "C" __global__ void __launch_bounds__(256) dropout(
    const STORED* x, const i64* __restrict__ state, STORED* out, i64 packs, i64 size, u32 key0, u32 key1, u32 counter0,
    u32 counter1, u32 threshold, REAL factor) {
  x += blockIdx.y * size;
  out += blockIdx.y * size;
  counter1 += blockIdx.y << MEMBER_SHIFT;
  const u32 step = (u32)state[STEP], batch = counter0 + ((u32)state[BATCH] << 16);
  const i64 pieces = (size + EACH - 1) / EACH, stride = (i64)gridDim.x * blockDim.x;
  for (i64 piece = (i64)blockIdx.x * blockDim.x + threadIdx.x; piece < pieces; piece += stride) {
    bool keeps[EACH];
#pragma unroll
    for (int b = 0; b < EACH / 4; ++b) {
      const Words words = philox((u32)(piece * (EACH / 4) + b), step, batch, counter1, key0, key1);
#pragma unroll
      for (int j = 0; j < 4; ++j) keeps[4 * b + j] = words.at[j] >= threshold;
    }
    const i64 first = piece * EACH;
    if (piece < packs) {
      Pack<STORED, EACH> pack = load<EACH>(x + first);
#pragma unroll
      for (int j = 0; j < EACH; ++j) pack.at[j] = narrow<STORED>(keeps[j] ? widen(pack.at[j]) * factor : REAL(0));
      store(out + first, pack);
    } else {
#pragma unroll
      for (int j = 0; j < EACH; ++j) {
        if (first + j < size) out[first + j] = narrow<STORED>(keeps[j] ? widen(x[first + j]) * factor : REAL(0));
      }
    }
  }
}
