// From the logits of the members of an ensemble to those of the ensemble: formulas as in backends/contract/ensembles.py.
//
// A thread has one element of the result. logits (members, count), the members `apart` elements from each other; out
// (count,). Sums over members are taken of exponentials less the largest of them.

const int THREADS = 512;

// The largest number, and the smallest normal one.
__device__ __forceinline__ REAL most_of() { return REAL(sizeof(REAL) == 4 ? 3.4028234663852886e38 : 1.7976931348623157e308); }
__device__ __forceinline__ REAL least_of() { return REAL(sizeof(REAL) == 4 ? 1.1754943508222875e-38 : 2.2250738585072014e-308); }

// The larger of two numbers, a nan if there is one.
__device__ __forceinline__ REAL larger(REAL a, REAL b) { return a > b || a != a ? a : b; }

// log(1 + exp(-|z|))
__device__ __forceinline__ REAL rest_of(REAL z) { return log1p(exp(-fabs(z))); }

// The logarithms, or other numbers, of all members for one element.
struct Logit {
  const REAL* z;
  i64 apart;
  __device__ __forceinline__ REAL operator()(int member) const { return z[member * apart]; }
};

// Less the logarithm of the sum of the exponentials of the row.
struct LogSoftmax {
  Logit logit;
  const REAL* log_sum;  // of this row, as `log_sums` writes it
  i64 rows;
  __device__ __forceinline__ REAL operator()(int member) const {
    const REAL* of_member = log_sum + 2 * member * rows;
    return logit(member) - of_member[0] - of_member[1];
  }
};

struct LogSigmoid {
  Logit logit;
  REAL sign;
  __device__ __forceinline__ REAL operator()(int member) const {
    const REAL z = sign * logit(member);
    return (z < 0 || z != z ? z : REAL(0)) - rest_of(z);
  }
};

// log(E(exp(x))); infinite if the largest x is
template <class Members>
__device__ __forceinline__ REAL log_mean_exp(const Members& x, int members) {
  REAL largest = -most_of(), sum = 0;
  for (int a = 0; a < members; ++a) largest = larger(x(a), largest);
  if (largest > most_of()) largest = most_of();
  for (int a = 0; a < members; ++a) sum += exp(x(a) - largest);
  return largest + log(sum / members);
}

__device__ __forceinline__ REAL mean_of(const Logit& x, int members) {
  REAL sum = 0;
  for (int a = 0; a < members; ++a) sum += x(a);
  return sum / members;
}

// log(exp(g) - 1) of the mean gap g = E(log(1 + exp(z))); below -40 gaps are exponentials to the last bit.
__device__ __forceinline__ REAL mean_gap(const Logit& z, int members) {
  REAL largest = -most_of(), gap = 0;
  for (int a = 0; a < members; ++a) {
    const REAL x = z(a);
    largest = larger(x, largest);
    gap += (x > 0 || x != x ? x : REAL(0)) + rest_of(x);
  }
  if (largest < -40) return log_mean_exp(z, members);
  gap /= members;
  return gap + log(-expm1(-gap));
}

// log(E((x - mean)^2)), no square of which overflows
__device__ __forceinline__ REAL log_mean_square(const Logit& x, REAL mean, int members) {
  REAL largest = least_of(), sum = 0;
  for (int a = 0; a < members; ++a) largest = larger(fabs(x(a) - mean), largest);
  for (int a = 0; a < members; ++a) {
    const REAL share = (x(a) - mean) / largest;
    sum += share * share;
  }
  return larger(2 * log(largest) + log(sum / members), -most_of());
}

extern "C" __global__ void __launch_bounds__(512)
mean_of_identity(const REAL* __restrict__ logits, REAL* __restrict__ out, i64 count, i64 apart, int members) {
  const i64 stride = (i64)gridDim.x * THREADS;
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < count; i += stride) {
    out[i] = mean_of({logits + i, apart}, members);
  }
}

// log_sums (members, rows, 2) as the kernel of that name writes them.
extern "C" __global__ void __launch_bounds__(512) mean_of_softmax(
    const REAL* __restrict__ logits, const REAL* __restrict__ log_sums, REAL* __restrict__ out, i64 rows, int columns,
    i64 apart, int members) {
  const i64 stride = (i64)gridDim.x * THREADS;
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < rows * columns; i += stride) {
    const LogSoftmax member = {{logits + i, apart}, log_sums + 2 * (i / columns), rows};
    out[i] = log_mean_exp(member, members);
  }
}

extern "C" __global__ void __launch_bounds__(512)
mean_of_sigmoid(const REAL* __restrict__ logits, REAL* __restrict__ out, i64 count, i64 apart, int members) {
  const i64 stride = (i64)gridDim.x * THREADS;
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < count; i += stride) {
    const Logit z = {logits + i, apart};
    const LogSigmoid yes = {z, 1}, no = {z, -1};
    out[i] = log_mean_exp(yes, members) - log_mean_exp(no, members);
  }
}

extern "C" __global__ void __launch_bounds__(512)
mean_of_exp(const REAL* __restrict__ logits, REAL* __restrict__ out, i64 count, i64 apart, int members) {
  const i64 stride = (i64)gridDim.x * THREADS;
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < count; i += stride) {
    const Logit z = {logits + i, apart};
    out[i] = log_mean_exp(z, members);
  }
}

// `levels` outputs per target: the lowest quantile, then what gaps are made of.
extern "C" __global__ void __launch_bounds__(512) mean_of_quantiles(
    const REAL* __restrict__ logits, REAL* __restrict__ out, i64 count, i64 apart, int members, int levels) {
  const i64 stride = (i64)gridDim.x * THREADS;
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < count; i += stride) {
    const Logit z = {logits + i, apart};
    out[i] = i % levels ? mean_gap(z, members) : mean_of(z, members);
  }
}

// rows of `columns` means, then as many logarithms of variances; a thread has a mean and its variance.
extern "C" __global__ void __launch_bounds__(512) mean_of_mean_and_variance(
    const REAL* __restrict__ logits, REAL* __restrict__ out, i64 rows, int columns, i64 apart, int members) {
  const i64 stride = (i64)gridDim.x * THREADS;
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < rows * columns; i += stride) {
    const i64 at = i / columns * columns + i;
    const Logit means = {logits + at, apart}, log_variances = {logits + at + columns, apart};
    const REAL mean = mean_of(means, members);
    const REAL within = log_mean_exp(log_variances, members), between = log_mean_square(means, mean, members);
    const REAL most = larger(within, between), least = within > between ? between : within;
    out[at] = mean;
    out[at + columns] = most + log1p(exp(least - most));
  }
}
