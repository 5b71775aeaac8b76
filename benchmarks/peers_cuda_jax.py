"""JAX as a competitor of ``compare_cuda.py``. The protocol is that of ``peers_cuda.py``."""

from __future__ import annotations

import gc
import math
from typing import Any

import numpy as np
from peers import BETA1, BETA2, EPS, LR
from peers_cuda import PIXEL_MEAN, PIXEL_SCALE, Competitor, divisor

PLAIN, HALF_OUTPUTS = "plain", "hidden layers stored in bf16"
MOST_UNROLLED = 4  # steps in the body of the loop, in the variant that unrolls: compiling takes that much longer
PRECISIONS = {"fp32": "highest", "tf32": "tensorfloat32", "bf16": "default"}  # the last: operands are cast by hand


class JaxScan(Competitor):
    """One jitted `lax.scan` per epoch, its carry donated; the order is dealt on the device by sorting random words.

    In bf16, products take operands cast to bf16 and give float32; also tried: the hidden layers' products give bf16, as
    torch's autocast has it. Otherwise also tried: a loop body of several steps.
    """

    distributions = ("jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin")

    def load(self) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.jnp = jax, jnp
        if self.device == "cuda" and jax.default_backend() != "gpu":
            raise RuntimeError(f"JAX found no CUDA device, its backend is {jax.default_backend()}")
        jnp.zeros(1).block_until_ready()

    @property
    def variants(self) -> list[str]:  # type: ignore[override]
        unrolled = divisor(self.case.steps, MOST_UNROLLED)
        return [PLAIN, HALF_OUTPUTS if self.precision == "bf16" else f"{unrolled} steps a turn of the loop"]

    def place(self) -> None:
        jax, jnp, arrays, case = self.jax, self.jnp, self.arrays, self.case
        jax.config.update("jax_default_matmul_precision", PRECISIONS[self.precision])
        if not hasattr(self, "standardized"):
            self.standardized = jax.jit(lambda pixels: (pixels.astype(jnp.float32) - PIXEL_MEAN) / PIXEL_SCALE)

        def put(x: np.ndarray) -> Any:
            return self.standardized(jnp.asarray(x)) if x.dtype == np.uint8 else jnp.asarray(x)

        self.x, self.targets = put(arrays.X), jnp.asarray(arrays.y, jnp.int32)
        if arrays.X_test is not None:
            self.x_test, self.targets_test = put(arrays.X_test), jnp.asarray(arrays.y_test, jnp.int32)
        if not hasattr(self, "initial"):
            self.initial = [tuple(jnp.array(a) for a in pair) for pair in arrays.weights]
            rows, used = len(arrays.X), case.steps * case.batch

            def deal(key: Any, number: Any) -> Any:
                words = jax.random.bits(jax.random.fold_in(key, number), (rows,), jnp.uint32)
                return jnp.argsort(words)[:used].astype(jnp.int32).reshape(case.steps, case.batch)

            self.dealer = jax.jit(deal)
            self.built: dict[str, dict[str, Any]] = {}

    def release(self) -> None:
        for name in ("x", "targets", "x_test", "targets_test", "initial", "dealer", "built", "carry", "now"):
            self.__dict__.pop(name, None)
        self.jax.clear_caches()
        gc.collect()

    def product(self, out_dtype: Any) -> Any:
        """x @ W in this precision; in bf16 both ways, the gradient by W in float32 like W itself."""
        jax, jnp = self.jax, self.jnp
        if self.precision != "bf16":
            return jnp.matmul

        def half_product(a: Any, b: Any, dtype: Any) -> Any:
            return jnp.matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=dtype)

        @jax.custom_vjp
        def product(x: Any, W: Any) -> Any:
            return half_product(x, W, out_dtype)

        def forward(x: Any, W: Any) -> Any:
            return product(x, W), (x.astype(jnp.bfloat16), W.astype(jnp.bfloat16))

        def backward(saved: Any, g: Any) -> Any:
            x, W = saved
            return half_product(g, W.T, jnp.float32), half_product(x.T, g, jnp.float32)

        product.defvjp(forward, backward)
        return product

    def use(self, variant: str) -> None:
        if variant not in self.built:
            self.built[variant] = self.build(variant)
        self.now = self.built[variant]

    def build(self, variant: str) -> dict[str, Any]:
        jax, jnp, outputs = self.jax, self.jnp, self.case.widths[-1]
        hidden = self.product(jnp.bfloat16 if variant == HALF_OUTPUTS else jnp.float32)
        top = self.product(jnp.float32)
        unroll = divisor(self.case.steps, MOST_UNROLLED) if variant.endswith("of the loop") else 1

        def forward(parameters: Any, x: Any) -> Any:
            *below, last = parameters
            for W, b in below:
                x = jax.nn.relu(hidden(x, W).astype(jnp.float32) + b)
            return top(x, last[0]) + last[1]

        def loss_of(parameters: Any, x: Any, targets: Any) -> Any:
            z = forward(parameters, x)
            chosen = (z * jax.nn.one_hot(targets, outputs, dtype=z.dtype)).sum(1)
            return (jax.nn.logsumexp(z, axis=1) - chosen).mean()

        def step(state: Any, rows: Any, x: Any, targets: Any) -> Any:
            parameters, m, v, t = state
            take = {"mode": "promise_in_bounds"}
            loss, g = jax.value_and_grad(loss_of)(parameters, x.at[rows].get(**take), targets.at[rows].get(**take))
            t, tree = t + 1, jax.tree.map
            m = tree(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
            v = tree(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
            rate, fix = -LR / jnp.expm1(t * math.log(BETA1)), -1 / jnp.expm1(t * math.log(BETA2))  # 1 - beta^t
            parameters = tree(lambda p, m, v: p - rate * m / (jnp.sqrt(v * fix) + EPS), parameters, m, v)
            return (parameters, m, v, t), loss

        def epoch(state: Any, order: Any, x: Any, targets: Any) -> Any:
            return jax.lax.scan(lambda s, rows: step(s, rows, x, targets), state, order, unroll=unroll)

        def numbered_step(carry: Any, order: Any, x: Any, targets: Any) -> Any:
            state, losses, number = carry
            state, loss = step(state, order[number], x, targets)
            return state, losses.at[number].set(loss), number + 1

        def accuracy(parameters: Any, x: Any, targets: Any) -> Any:
            return (forward(parameters, x).argmax(1) == targets).mean()

        return {
            "epoch": jax.jit(epoch, donate_argnums=0),
            "step": jax.jit(numbered_step, donate_argnums=0),
            "accuracy": jax.jit(accuracy),
        }

    def reset(self, seed: int) -> None:
        jnp = self.jnp
        zeros = [[tuple(jnp.zeros_like(a) for a in pair) for pair in self.initial] for _ in "mv"]
        parameters = [tuple(jnp.array(a, copy=True) for a in pair) for pair in self.initial]
        self.carry = (parameters, *zeros, jnp.zeros(()))
        self.key, self.dealt = self.jax.random.key(seed), 0

    def deal(self) -> Any:
        self.dealt += 1
        return self.dealer(self.key, self.dealt)

    def wait_for(self, order: Any) -> None:
        order.block_until_ready()

    def in_order(self, order: np.ndarray) -> Any:
        return self.jnp.asarray(order, self.jnp.int32)

    def epoch(self, order: Any) -> np.ndarray:
        self.carry, losses = self.now["epoch"](self.carry, order, self.x, self.targets)
        return np.asarray(losses)

    def accuracy(self) -> float:
        return float(self.now["accuracy"](self.carry[0], self.x_test, self.targets_test))


class JaxStep(JaxScan):
    """One jitted call per step, its carry donated; the number of the batch is counted, the loss kept, on the device."""

    @property
    def variants(self) -> list[str]:  # type: ignore[override]
        return [PLAIN, HALF_OUTPUTS] if self.precision == "bf16" else [PLAIN]

    def epoch(self, order: Any) -> np.ndarray:
        jnp, step = self.jnp, self.now["step"]
        carry = (self.carry, jnp.zeros(self.case.steps), jnp.zeros((), jnp.int32))
        for _ in range(self.case.steps):
            carry = step(carry, order, self.x, self.targets)
        self.carry, losses, _ = carry
        return np.asarray(losses)
