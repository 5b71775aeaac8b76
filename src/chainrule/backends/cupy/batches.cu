// Batches and the counters of a step: rows fetched and converted from whatever type they have.

// state[STEP] += updates, state[BATCH] += 1
extern "C" __global__ void tick(i64* __restrict__ state, int updates) {
  if (threadIdx.x < 2) state[threadIdx.x] += threadIdx.x == STEP ? updates : 1;
}

// ---- from any kind to float, double or int ------------------------------------------------------------------------
// As NumPy's astype does for values in range: narrow kinds are exact, wide ones round once, fractions are cut off. To
// bfloat16 the way leads over float32, so that a double or a large integer rounds twice. A double below 1.2e-38 becomes
// 0 in both.

typedef unsigned char u8;
typedef unsigned short u16;

struct f16 {
  u16 bits;
};
struct boolean {
  u8 byte;
};

// Bits are moved, and no number passes through a subnormal float32: with -ftz=true, which CuPy adds to every compilation,
// arithmetic and conversions take that for 0.
__device__ __forceinline__ float widen(f16 x) {
  const u32 sign = (u32)(x.bits & 0x8000u) << 16, rest = (u32)(x.bits & 0x7fffu) << 13;
  u32 magnitude = rest + 0x38000000u;                         // the exponent + 127 - 15
  if (rest >= 0x0f800000u) magnitude = 0x70000000u | rest;    // inf or nan
  if (rest < 0x00800000u) magnitude = __float_as_uint((float)(int)rest / 137438953472.0f);  // m 2^-24, with rest = m 2^13
  return __uint_as_float(sign | magnitude);
}

template <class T, class S>
__device__ __forceinline__ T convert(S x) {
  return (T)x;
}
template <>
__device__ __forceinline__ double convert<double>(float x) {
  const u32 bits = __float_as_uint(x);
  if (bits & 0x7f800000u || bits << 1 == 0) return (double)x;
  const int m = bits & 0x7fffffu;
  return (double)(bits >> 31 ? -m : m) * 1.401298464324817e-45;  // 2^-149
}
template <class T>
__device__ __forceinline__ T convert(bf16 x) {
  return convert<T>(widen(x));
}
template <class T>
__device__ __forceinline__ T convert(f16 x) {
  return (T)widen(x);
}
template <class T>
__device__ __forceinline__ T convert(boolean x) {
  return (T)(x.byte != 0);
}

const i64 NOWHERE = -1;

// x[k] = the V elements of pack at[k], all loads on their way before the first is used; what lies NOWHERE is 0.
template <class S, class T, int N, int V>
__device__ __forceinline__ void fetch_as(const void* source, const i64 (&at)[N], Pack<T, V> (&x)[N]) {
  Pack<S, V> loaded[N] = {};
#pragma unroll
  for (int k = 0; k < N; ++k)
    if (at[k] != NOWHERE) loaded[k] = ((const Pack<S, V>*)source)[at[k]];
#pragma unroll
  for (int k = 0; k < N; ++k)
#pragma unroll
    for (int j = 0; j < V; ++j) x[k].at[j] = convert<T>(loaded[k].at[j]);
}

template <class T, int N, int V>
__device__ __forceinline__ void fetch(const void* source, int kind, const i64 (&at)[N], Pack<T, V> (&x)[N]) {
  switch (kind) {
    case FLOAT32: return fetch_as<float>(source, at, x);
    case FLOAT64: return fetch_as<double>(source, at, x);
    case BFLOAT16: return fetch_as<bf16>(source, at, x);
    case FLOAT16: return fetch_as<f16>(source, at, x);
    case BOOL: return fetch_as<boolean>(source, at, x);
    case UINT8: return fetch_as<u8>(source, at, x);
    case INT8: return fetch_as<signed char>(source, at, x);
    case UINT16: return fetch_as<u16>(source, at, x);
    case INT16: return fetch_as<short>(source, at, x);
    case UINT32: return fetch_as<u32>(source, at, x);
    case INT32: return fetch_as<int>(source, at, x);
    case UINT64: return fetch_as<u64>(source, at, x);
    case INT64: return fetch_as<i64>(source, at, x);
  }
}

template <class D, class T, int V>
__device__ __forceinline__ void put(void* out, i64 at, const Pack<T, V>& x) {
  Pack<D, V> y;
#pragma unroll
  for (int j = 0; j < V; ++j) y.at[j] = narrow<D>(x.at[j]);
  ((Pack<D, V>*)out)[at] = y;
}

template <>
struct Narrow<int> {
  __device__ __forceinline__ static int from(int x) { return x; }
};

// How elements travel. A unit is what one thread moves at a time: bytes as they are, an element that is converted, or
// as many of them as are 16 bytes of a destination that is there for speed. (Numbered as in batches.py.)
enum Form {
  COPY_1, COPY_2, COPY_4, COPY_8, COPY_16,
  TO_FLOAT32, TO_FLOAT64, TO_BFLOAT16, TO_INT32,
  TO_FLOAT32_BY_4, TO_BFLOAT16_BY_8,
  TO_BFLOAT16_BY_4
};

// How a block divides rows of `units`: 1 << log_lanes threads take a row, each every so many units of it.
struct Rows {
  i64 first, step;  // of this thread's rows
  i64 lane, lanes;  // its first unit, and how many further on the next is
  __device__ __forceinline__ explicit Rows(int log_lanes)
      : first((i64)blockIdx.x * (blockDim.x >> log_lanes) + (threadIdx.x >> log_lanes)),
        step((i64)gridDim.x * (blockDim.x >> log_lanes)),
        lane(threadIdx.x & ((1 << log_lanes) - 1)),
        lanes(1 << log_lanes) {}
};

// D(estination), T(ype that is computed in), V elements per unit
template <class D, class T, int V, bool as_it_is = false>
__device__ __forceinline__ void gather_rows(const void* source, void* out, int kind, const i64* order, i64 n, i64 units,
                                            int log_lanes, i64 from_unit, i64 to_unit) {
  const int N = V == 8 ? 2 : 4;  // rows on their way at a time
  const Rows mine(log_lanes);
#pragma unroll 1
  for (i64 row = mine.first; row < n; row += N * mine.step) {
    i64 from[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const i64 i = row + k * mine.step;
      from[k] = i >= n ? NOWHERE : from_unit + (order == nullptr ? i : order[i]) * units;
    }
#pragma unroll 1
    for (i64 unit = mine.lane; unit < units; unit += mine.lanes) {
      i64 at[N];
      Pack<T, V> x[N];
#pragma unroll
      for (int k = 0; k < N; ++k) at[k] = from[k] == NOWHERE ? NOWHERE : from[k] + unit;
      if constexpr (as_it_is)
        fetch_as<T>(source, at, x);
      else
        fetch(source, kind, at, x);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const i64 to = to_unit + (row + k * mine.step) * units + unit;
        if (at[k] == NOWHERE) continue;
        if constexpr (as_it_is)
          ((Pack<D, V>*)out)[to] = x[k];
        else
          put<D>(out, to, x[k]);
      }
    }
  }
}

// out[a][i] = source[a][order[position * stride + i]] for i < n: array a by the blocks of row a of the grid, each
// with its own form, kind of source and units per row. Without an order out[a][i] = source[a][i].
//
// The block that comes last, found by `ticket`, adds 1 to the position for the next batch, if there is `next`, which is the
// position's memory: all blocks have read it by then.
//
// blockIdx.z is the member of an ensemble: its order is `order_stride` from that of the next, its source so many units (0
// if it is shared); what is written lies one member behind the other.
extern "C" __global__ void __launch_bounds__(256)
    gather(const void* __restrict__ source0, const void* __restrict__ source1, const void* __restrict__ source2,
           void* __restrict__ out0, void* __restrict__ out1, void* __restrict__ out2, int form0, int form1, int form2,
           int kind0, int kind1, int kind2, i64 units0, i64 units1, i64 units2, int log_lanes0, int log_lanes1,
           int log_lanes2, const i64* __restrict__ order, const i64* position, i64* next, u32* ticket, i64 stride, i64 n,
           i64 order_stride, i64 source_stride0, i64 source_stride1, i64 source_stride2) {
  const int a = blockIdx.y;
  const void* from = a == 0 ? source0 : a == 1 ? source1 : source2;
  void* to = a == 0 ? out0 : a == 1 ? out1 : out2;
  const int form = a == 0 ? form0 : a == 1 ? form1 : form2, kind = a == 0 ? kind0 : a == 1 ? kind1 : kind2;
  const i64 units = a == 0 ? units0 : a == 1 ? units1 : units2;
  const int log_lanes = a == 0 ? log_lanes0 : a == 1 ? log_lanes1 : log_lanes2;
  const i64 source_stride = a == 0 ? source_stride0 : a == 1 ? source_stride1 : source_stride2;
  const i64 from_unit = blockIdx.z * source_stride, to_unit = blockIdx.z * n * units;
  if (order != nullptr) order += blockIdx.z * order_stride + *position * stride;
  switch (form) {
    case COPY_1: gather_rows<u8, u8, 1, true>(from, to, kind, order, n, units, log_lanes, from_unit, to_unit); break;
    case COPY_2: gather_rows<u16, u16, 1, true>(from, to, kind, order, n, units, log_lanes, from_unit, to_unit); break;
    case COPY_4: gather_rows<u32, u32, 1, true>(from, to, kind, order, n, units, log_lanes, from_unit, to_unit); break;
    case COPY_8: gather_rows<u64, u64, 1, true>(from, to, kind, order, n, units, log_lanes, from_unit, to_unit); break;
    case COPY_16: gather_rows<u64, u64, 2, true>(from, to, kind, order, n, units, log_lanes, from_unit, to_unit); break;
    case TO_FLOAT32: gather_rows<float, float, 1>(from, to, kind, order, n, units, log_lanes, from_unit, to_unit); break;
    case TO_FLOAT64: gather_rows<double, double, 1>(from, to, kind, order, n, units, log_lanes, from_unit, to_unit); break;
    case TO_BFLOAT16: gather_rows<bf16, float, 1>(from, to, kind, order, n, units, log_lanes, from_unit, to_unit); break;
    case TO_INT32: gather_rows<int, int, 1>(from, to, kind, order, n, units, log_lanes, from_unit, to_unit); break;
    case TO_FLOAT32_BY_4: gather_rows<float, float, 4>(from, to, kind, order, n, units, log_lanes, from_unit, to_unit); break;
    case TO_BFLOAT16_BY_8: gather_rows<bf16, float, 8>(from, to, kind, order, n, units, log_lanes, from_unit, to_unit); break;
  }
  if (next != nullptr && comes_last(gridDim.x * gridDim.y * gridDim.z, ticket) && threadIdx.x == 0) *next += 1;
}

// ---- standardised columns -----------------------------------------------------------------------------------------

// z = (x - mean) / scale,   out = z / sqrt(1 + (z / limit)^2), in double precision.
//
// For a narrower destination the divisions by scale and limit become products with 1 / scale and 1 / limit: a unit of
// roundoff in double precision does not show there. A thread first reads what it is going to write: `out` may be `x`.
//
// A difference can overflow if |mean| is large: then all is halved, which is exact. From FAR * limit on z is clipped, which
// is bent to the limit anyway: its square would overflow.
const double HALVED_ABOVE = 9.7453140114e288, FAR = 1e9, LARGEST = 1.7976931348623157e308;  // 2^960

template <class D, int V>
__device__ __forceinline__ void standardize_rows(const void* x, void* out, int kind, const double* mean,
                                                 const double* scale, double limit, i64 n, i64 units, int log_lanes) {
  const int N = V == 1 ? 4 : 1;  // rows on their way at a time: more would not find the registers
  const bool exact = sizeof(D) == sizeof(double), limited = !isinf(limit);
  const double most = fmin(FAR * limit, LARGEST);
  const Rows mine(log_lanes);
#pragma unroll 1
  for (i64 unit = mine.lane; unit < units; unit += mine.lanes) {
    double half[V], center[V], by[V];
#pragma unroll
    for (int j = 0; j < V; ++j) {
      half[j] = fabs(mean[unit * V + j]) > HALVED_ABOVE ? 0.5 : 1;
      center[j] = mean[unit * V + j] * half[j];
      by[j] = scale[unit * V + j] * half[j];
      if (!exact) by[j] = fmin(1 / by[j], LARGEST);
    }
#pragma unroll 1
    for (i64 row = mine.first; row < n; row += N * mine.step) {
      i64 at[N];
      Pack<double, V> z[N];
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const i64 i = row + k * mine.step;
        at[k] = i < n ? i * units + unit : NOWHERE;
      }
      fetch(x, kind, at, z);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        if (at[k] == NOWHERE) continue;
#pragma unroll
        for (int j = 0; j < V; ++j) {
          const double distance = fma(z[k].at[j], half[j], -center[j]);
          z[k].at[j] = exact ? distance / by[j] : distance * by[j];
        }
        if (limited)
#pragma unroll
          for (int j = 0; j < V; ++j) {
            if (fabs(z[k].at[j]) > most) z[k].at[j] = copysign(most, z[k].at[j]);
            const double q = exact ? z[k].at[j] / limit : z[k].at[j] * (1 / limit);
            z[k].at[j] /= sqrt(__dadd_rn(1, __dmul_rn(q, q)));
          }
        put<D>(out, at[k], z[k]);
      }
    }
  }
}

// x, out (n, units * V); mean, scale (units * V,)
extern "C" __global__ void __launch_bounds__(256)
    standardize(const void* x, void* out, int form, int kind, const double* __restrict__ mean,
                const double* __restrict__ scale, double limit, i64 n, i64 units, int log_lanes) {
  switch (form) {
    case TO_FLOAT32: return standardize_rows<float, 1>(x, out, kind, mean, scale, limit, n, units, log_lanes);
    case TO_FLOAT64: return standardize_rows<double, 1>(x, out, kind, mean, scale, limit, n, units, log_lanes);
    case TO_BFLOAT16: return standardize_rows<bf16, 1>(x, out, kind, mean, scale, limit, n, units, log_lanes);
    case TO_FLOAT32_BY_4: return standardize_rows<float, 4>(x, out, kind, mean, scale, limit, n, units, log_lanes);
    case TO_BFLOAT16_BY_4: return standardize_rows<bf16, 4>(x, out, kind, mean, scale, limit, n, units, log_lanes);
  }
}

// ---- one value everywhere -----------------------------------------------------------------------------------------

template <class U>
__device__ __forceinline__ void fill_with(void* out, U value, i64 units) {
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < units; i += (i64)gridDim.x * blockDim.x)
    ((U*)out)[i] = value;
}

// out = units of 1, 2, 4, 8 or 16 bytes (form), each the first bytes of (low, high)
extern "C" __global__ void __launch_bounds__(256) fill(void* __restrict__ out, int form, u64 low, u64 high, i64 units) {
  switch (form) {
    case COPY_1: return fill_with(out, (u8)low, units);
    case COPY_2: return fill_with(out, (u16)low, units);
    case COPY_4: return fill_with(out, (u32)low, units);
    case COPY_8: return fill_with(out, low, units);
    case COPY_16: return fill_with(out, Pack<u64, 2>{low, high}, units);
  }
}
