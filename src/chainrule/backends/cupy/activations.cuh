// Activations, each beside its derivative, by the formulas of backends/contract/layers.py.
//
// Comparisons are written so that a nan stays one, through ReLU too: or a run that has diverged would continue. The numbers
// and the ends beyond which a gate is 0 or 1 are those of backends/reference/activations.py and gated_activations.py.

// Numbered as in layers.py.
enum Activation { IDENTITY, RELU, TANH, SIGMOID, LEAKY_RELU, ELU, SELU, SOFTPLUS, GELU, GELU_TANH, SILU, MISH };

const REAL SLOPE = REAL(0.01);
const REAL SELU_SCALE = REAL(1.0507009873554805), SELU_FLOOR = REAL(1.7580993408473766);
const REAL ROOT_HALF = REAL(0.70710678118654752), DENSITY = REAL(0.39894228040143268);
const REAL TANH_1 = REAL(1.5957691216057308), TANH_3 = REAL(0.071354816272600247);

__device__ __forceinline__ REAL at_least(REAL z, REAL low) { return z < low ? low : z; }
__device__ __forceinline__ REAL at_most(REAL z, REAL high) { return z > high ? high : z; }
__device__ __forceinline__ REAL between(REAL z, REAL low, REAL high) { return at_most(at_least(z, low), high); }

__device__ __forceinline__ REAL relu(REAL z) { return z < 0 ? REAL(0) : z; }
__device__ __forceinline__ REAL relu_derivative(REAL y) { return y > 0 ? REAL(1) : REAL(0); }

__device__ __forceinline__ REAL leaky_relu(REAL z) { return z < 0 ? SLOPE * z : z; }
__device__ __forceinline__ REAL leaky_relu_derivative(REAL y) { return y > 0 ? REAL(1) : SLOPE; }

__device__ __forceinline__ REAL elu(REAL z) { return z < 0 ? expm1(z) : z; }
__device__ __forceinline__ REAL elu_derivative(REAL y) { return 1 + at_most(y, 0); }

__device__ __forceinline__ REAL selu(REAL z) { return z < 0 ? SELU_FLOOR * expm1(z) : SELU_SCALE * z; }
__device__ __forceinline__ REAL selu_derivative(REAL y) { return y > 0 ? SELU_SCALE : y + SELU_FLOOR; }

__device__ __forceinline__ REAL softplus(REAL z) { return relu(z) + log1p(exp(-fabs(z))); }
__device__ __forceinline__ REAL softplus_derivative(REAL y) { return 1 - exp(-y); }

__device__ __forceinline__ REAL tanh_derivative(REAL y) { return 1 - y * y; }

__device__ __forceinline__ REAL sigmoid(REAL z) { return 1 / (1 + exp(-z)); }  // exp may be inf, and 1 / inf is the right 0
__device__ __forceinline__ REAL sigmoid_derivative(REAL y) { return (1 - y) * y; }

__device__ __forceinline__ REAL gelu(REAL z) {
  z = at_least(z, -40);
  return z * (REAL(0.5) * erfc(-z * ROOT_HALF));
}
__device__ __forceinline__ REAL gelu_derivative(REAL z) {
  z = between(z, -40, 40);
  const REAL bell = DENSITY * exp(REAL(-0.5) * z * z);  // first, or erfc leaves too few registers in bf16
  return z * bell + REAL(0.5) * erfc(-z * ROOT_HALF);
}

__device__ __forceinline__ REAL silu(REAL z) {
  z = at_least(z, -800);
  const REAL w = exp(at_most(z, 40));
  return z * (w / (w + 1));
}
// Of s = sigmoid(v), where w = exp(v):  s + z v' s (1 - s),  with 1 - s = 1 / (w + 1).
__device__ __forceinline__ REAL gate_derivative(REAL zv, REAL w) { return (zv / (w + 1) + 1) * (w / (w + 1)); }
__device__ __forceinline__ REAL silu_derivative(REAL z) {
  z = between(z, -800, 40);
  return gate_derivative(z, exp(z));
}

__device__ __forceinline__ REAL gelu_tanh(REAL z) {
  z = at_least(z, -40);
  const REAL c = at_most(z, 8), w = exp(c * (TANH_1 + TANH_3 * c * c));
  return z * (w / (w + 1));
}
__device__ __forceinline__ REAL gelu_tanh_derivative(REAL z) {
  z = between(z, -40, 8);
  return gate_derivative(z * (TANH_1 + 3 * TANH_3 * z * z), exp(z * (TANH_1 + TANH_3 * z * z)));
}

// With w = exp(z), n = w (w + 2) and d = n + 2:  tanh(log(1 + w)) = n / d.
__device__ __forceinline__ REAL mish(REAL z) {
  z = at_least(z, -800);
  const REAL w = exp(at_most(z, 30)), n = w * (w + 2);
  return z * (n / (n + 2));
}
__device__ __forceinline__ REAL mish_derivative(REAL z) {
  z = between(z, -800, 30);
  const REAL w = exp(z), n = w * (w + 2), d = n + 2;
  return (n + 4 * z * (w * (w + 1) / d)) / d;
}

#define FOR_ALL(N, statement)    \
  {                              \
    _Pragma("unroll")            \
    for (int j = 0; j < N; ++j) statement; \
  }

// z = act(z).
template <int N>
__device__ __forceinline__ void act(int activation, REAL (&z)[N]) {
  switch (activation) {
    case RELU: FOR_ALL(N, z[j] = relu(z[j])) break;
    case TANH: FOR_ALL(N, z[j] = tanh(z[j])) break;
    case SIGMOID: FOR_ALL(N, z[j] = sigmoid(z[j])) break;
    case LEAKY_RELU: FOR_ALL(N, z[j] = leaky_relu(z[j])) break;
    case ELU: FOR_ALL(N, z[j] = elu(z[j])) break;
    case SELU: FOR_ALL(N, z[j] = selu(z[j])) break;
    case SOFTPLUS: FOR_ALL(N, z[j] = softplus(z[j])) break;
    case GELU: FOR_ALL(N, z[j] = gelu(z[j])) break;
    case GELU_TANH: FOR_ALL(N, z[j] = gelu_tanh(z[j])) break;
    case SILU: FOR_ALL(N, z[j] = silu(z[j])) break;
    case MISH: FOR_ALL(N, z[j] = mish(z[j])) break;
  }
}

// dy = dy act'(saved). A product for ReLU too: 0 times what is not finite is nan, and seen.
template <int N>
__device__ __forceinline__ void act_backward(int activation, const REAL (&saved)[N], REAL (&dy)[N]) {
  switch (activation) {
    case RELU: FOR_ALL(N, dy[j] *= relu_derivative(saved[j])) break;
    case TANH: FOR_ALL(N, dy[j] *= tanh_derivative(saved[j])) break;
    case SIGMOID: FOR_ALL(N, dy[j] *= sigmoid_derivative(saved[j])) break;
    case LEAKY_RELU: FOR_ALL(N, dy[j] *= leaky_relu_derivative(saved[j])) break;
    case ELU: FOR_ALL(N, dy[j] *= elu_derivative(saved[j])) break;
    case SELU: FOR_ALL(N, dy[j] *= selu_derivative(saved[j])) break;
    case SOFTPLUS: FOR_ALL(N, dy[j] *= softplus_derivative(saved[j])) break;
    case GELU: FOR_ALL(N, dy[j] *= gelu_derivative(saved[j])) break;
    case GELU_TANH: FOR_ALL(N, dy[j] *= gelu_tanh_derivative(saved[j])) break;
    case SILU: FOR_ALL(N, dy[j] *= silu_derivative(saved[j])) break;
    case MISH: FOR_ALL(N, dy[j] *= mish_derivative(saved[j])) break;
  }
}
