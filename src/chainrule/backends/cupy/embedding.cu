// Embedding: rows of tables by code, and the backward pass. No float is added by an atomic: the same sums in the same
// order each time.

const int WARPS = 8;  // of a block
const int THREADS = 256;
const int AHEAD = 4;  // rows whose numbers are under way at once

// y[i, j]:  `places` has for each column j of y four numbers: the column of x; where its table begins, plus the number
// within a vector; the width of a vector, 0 if x itself goes to y; and the place of its mean.
//
// One thread per element, so that writes are side by side. The code is written by the thread of a vector's first number.
extern "C" __global__ void __launch_bounds__(256) embed(
    const REAL* __restrict__ x, const REAL* __restrict__ tables, const REAL* __restrict__ means,
    const i64* __restrict__ places, const int* __restrict__ slots, int* __restrict__ codes, STORED* __restrict__ y,
    i64 rows, int columns_in, int columns, int kinds) {
  const i64 stride = (i64)gridDim.x * blockDim.x, size = rows * columns;
  for (i64 e = (i64)blockIdx.x * blockDim.x + threadIdx.x; e < size; e += stride) {
    const i64 row = e / columns;
    const int column = (int)(e % columns);
    const i64* place = places + 4 * (i64)column;
    const REAL found = x[row * columns_in + place[0]];
    REAL value = found;
    if (place[2]) {
      const i64 code = (i64)found;
      const int slot = slots[2 * column], count = slots[2 * column + 1];
      // A mean is only read if there are any: without them there is no such code.
      value = means && code == count ? means[place[3]] : tables[place[1] + code * place[2]];
      if (slot >= 0) codes[row * kinds + slot] = (int)code;
    }
    y[e] = narrow<STORED>(value);
  }
}

// dtables: a group of `share` warps, 1 or all of a block, has a vector of some table and 32 of its numbers (blockIdx.y says
// which). Its warps compare the codes 32 rows at a time, one row per lane, and what has the vector's code is added by all
// lanes, one number per lane: in the order of the rows within a warp, then one warp after the other.
//
// `tables` has for each table five numbers: vectors in the tables before it, how many it has, their width, where it begins,
// and the first column of dy. All gradients are written, those of 0 too: the blocks of a vector do not know of each other,
// and memory is fast. `touched` gets 1 for a vector that some row has the code of, else 0.
extern "C" __global__ void __launch_bounds__(256) embed_backward(
    const STORED* __restrict__ dy, const int* __restrict__ codes, const i64* __restrict__ tables,
    float* __restrict__ touched, REAL* __restrict__ dtables, i64 rows, int columns, int kinds, i64 vectors, int share) {
  __shared__ REAL sums[WARPS][32];
  __shared__ bool has_found[WARPS];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const i64 vector = (i64)blockIdx.x * (WARPS / share) + warp / share;
  int t = 0;
  while (t + 1 < kinds && vector >= tables[5 * (t + 1)]) ++t;
  const i64* table = tables + 5 * t;
  const i64 code = vector - table[0], width = table[2], number = (i64)blockIdx.y * 32 + lane;
  const bool works = vector < vectors && (i64)blockIdx.y * 32 < width;  // the same in all lanes
  REAL sum = 0;
  bool found = false;  // the same in all lanes
  if (works) {
    const STORED* from = dy + table[4] + number;
    for (i64 first = (i64)(warp % share) * 32; first < rows; first += (i64)share * 32) {
      const i64 row = first + lane;
      u32 left = __ballot_sync(0xffffffffu, row < rows && codes[row * kinds + t] == code);
      found |= left != 0;
      while (left) {
        REAL some[AHEAD];
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) {
          const int next = __ffs(left) - 1;  // -1 if no row is left
          some[a] = next >= 0 && number < width ? widen(from[(first + next) * columns]) : REAL(0);
          left &= left - 1;
        }
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) sum += some[a];
      }
    }
  }
  if (share > 1) {
    sums[warp][lane] = sum;
    if (lane == 0) has_found[warp] = found;
    __syncthreads();
    if (warp > 0) return;
    for (int w = 1; w < WARPS; ++w) {
      sum += sums[w][lane];
      found |= has_found[w];
    }
  }
  if (works && lane == 0 && blockIdx.y == 0) touched[vector] = found;
  if (works && number < width) dtables[table[3] + code * width + number] = sum;
}

// means: a block has 32 numbers of one table's mean (blockIdx.x the table, blockIdx.y which numbers); `tables` as above,
// its last number less the columns that are no codes'.
extern "C" __global__ void __launch_bounds__(256) embed_means(
    const REAL* __restrict__ vectors, const REAL* __restrict__ shares, const i64* __restrict__ tables,
    REAL* __restrict__ means) {
  __shared__ REAL sums[WARPS][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const i64* table = tables + 5 * blockIdx.x;
  const i64 width = table[2], number = (i64)blockIdx.y * 32 + lane;
  REAL sum = 0;
  if (number < width) {
    for (i64 code = warp; code < table[1]; code += WARPS)
      sum += shares[table[0] + code] * vectors[table[3] + code * width + number];
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || number >= width) return;
  for (int w = 1; w < WARPS; ++w) sum += sums[w][lane];
  means[table[4] + number] = sum;
}
