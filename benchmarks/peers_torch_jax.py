"""The peers of ``compare_cpu.py`` that trace or compile: torch and JAX. Their protocol is that of ``peers.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
from peers import BETA1, BETA2, EPS, LR, Peer


class Torch(Peer):
    """Eager, `torch.optim.Adam(fused=True)`."""

    module = "torch"

    def prepare(self) -> None:
        import torch

        self.torch = torch
        self.x, self.targets = torch.from_numpy(self.X), torch.from_numpy(self.y)
        self.initial = [torch.tensor(a) for W, b in self.weights for a in (np.ascontiguousarray(W.T), b)]
        functional = torch.nn.functional
        self.loss = functional.cross_entropy if self.case.classifies else functional.mse_loss
        self.build()

    def build(self) -> None:
        nn, layers = self.torch.nn, []
        for W, _ in self.weights:
            layers += [nn.Linear(*W.shape), nn.ReLU()]
        self.net = nn.Sequential(*layers[:-1])

    def reset(self, seed: int) -> None:
        self.torch.manual_seed(seed)
        with self.torch.no_grad():
            for parameter, value in zip(self.net.parameters(), self.initial, strict=True):
                parameter.copy_(value)
        self.adam = self.torch.optim.Adam(self.net.parameters(), LR, (BETA1, BETA2), EPS, fused=True)

    def step(self, rows: Any) -> Any:
        self.adam.zero_grad()
        loss = self.loss(self.net(self.x.index_select(0, rows)), self.targets.index_select(0, rows))
        loss.backward()
        self.adam.step()
        return loss.detach()

    def step_on(self, rows: np.ndarray) -> Any:
        return self.step(self.torch.from_numpy(rows))

    def train(self, epochs: int) -> None:
        torch, step = self.torch, self.step
        for _ in range(epochs):
            batches = torch.randperm(len(self.x)).split(self.case.batch)[: self.case.steps]
            float(torch.stack([step(rows) for rows in batches]).mean())

    def logits(self, x: Any) -> Any:
        return self.net(x)

    def accuracy(self, X: np.ndarray, y: np.ndarray) -> float:
        with self.torch.no_grad():
            return float((self.logits(self.torch.from_numpy(X)).argmax(1).numpy() == y).mean())


class TorchCompile(Torch):
    """The whole step, gather to Adam, as one graph of `torch.compile(fullgraph=True)`, with `torch.func` gradients.

    Adam is written out, as the graph would break at `backward` otherwise; compiling forward and backward only, beside
    the fused Adam, gave eager's times.
    """

    def build(self) -> None:
        torch = self.torch
        self.state = [[torch.zeros_like(p) for p in self.initial] for _ in "pmv"]
        self.time = torch.zeros(())

        def loss_of(parameters: list[Any], x: Any, targets: Any) -> Any:
            return self.loss(forward(parameters, x), targets)

        def forward(parameters: list[Any], x: Any) -> Any:
            for i in range(0, len(parameters), 2):
                x = torch.nn.functional.linear(torch.relu(x) if i else x, parameters[i], parameters[i + 1])
            return x

        def step(parameters: Any, m: Any, v: Any, t: Any, x: Any, targets: Any, rows: Any) -> Any:
            batch = x.index_select(0, rows), targets.index_select(0, rows)
            gradients, loss = torch.func.grad_and_value(loss_of)(parameters, *batch)
            t.add_(1)
            rate, root = LR / (1 - BETA1**t), (1 - BETA2**t).sqrt()
            for p, g, mp, vp in zip(parameters, gradients, m, v, strict=True):
                mp.lerp_(g, 1 - BETA1)
                vp.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
                p.sub_(rate * mp / (vp.sqrt() / root + EPS))
            return loss

        self.forward, self.whole = forward, torch.compile(step, fullgraph=True)

    def reset(self, seed: int) -> None:
        self.torch.manual_seed(seed)
        self.time.zero_()
        parameters, m, v = self.state
        for i, value in enumerate(self.initial):
            parameters[i].copy_(value)
            m[i].zero_()
            v[i].zero_()

    def step(self, rows: Any) -> Any:
        return self.whole(*self.state, self.time, self.x, self.targets, rows)

    def train(self, epochs: int) -> None:
        with self.torch.no_grad():
            super().train(epochs)

    def logits(self, x: Any) -> Any:
        return self.forward(self.state[0], x)


class JaxScan(Peer):
    """One jitted `lax.scan` per epoch, its carry donated; the order comes from NumPy, whose shuffle is faster."""

    module = "jax"

    def prepare(self) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.jnp = jax, jnp
        steps, batch, classifies, outputs = self.case.steps, self.case.batch, self.case.classifies, self.case.widths[-1]
        self.x = jnp.asarray(self.X)
        self.targets = jnp.asarray(self.y, jnp.int32 if classifies else jnp.float32)

        def forward(parameters: Any, x: Any) -> Any:
            for i, (W, b) in enumerate(parameters):
                x = (jax.nn.relu(x) if i else x) @ W + b
            return x

        def loss_of(parameters: Any, x: Any, targets: Any) -> Any:
            z = forward(parameters, x)
            if classifies:
                chosen = (z * jax.nn.one_hot(targets, outputs, dtype=z.dtype)).sum(1)
                return (jax.nn.logsumexp(z, axis=1) - chosen).mean()
            return ((z - targets) ** 2).mean()

        def step(carry: Any, rows: Any, x: Any, targets: Any) -> Any:
            parameters, m, v, t = carry
            take = {"mode": "promise_in_bounds"}
            loss, g = jax.value_and_grad(loss_of)(parameters, x.at[rows].get(**take), targets.at[rows].get(**take))
            t, tree = t + 1, jax.tree.map
            m = tree(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
            v = tree(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
            rate, fix = LR / (1 - BETA1**t), 1 / (1 - BETA2**t)
            parameters = tree(lambda p, m, v: p - rate * m / (jnp.sqrt(v * fix) + EPS), parameters, m, v)
            return (parameters, m, v, t), loss

        def epoch(carry: Any, order: Any, x: Any, targets: Any) -> Any:
            return jax.lax.scan(lambda c, rows: step(c, rows, x, targets), carry, order)

        def numbered_step(carry: Any, order: Any, x: Any, targets: Any) -> Any:
            return step(carry, order[carry[3].astype(jnp.int32) % steps], x, targets)

        self.forward = jax.jit(forward)
        self.one = jax.jit(step, donate_argnums=0)
        self.numbered = jax.jit(numbered_step, donate_argnums=0)
        self.epoch = jax.jit(epoch, donate_argnums=0)
        self.used = steps * batch

    def reset(self, seed: int) -> None:
        jnp, zeros = self.jnp, lambda: [tuple(self.jnp.zeros_like(a) for a in pair) for pair in self.weights]
        self.carry = ([tuple(jnp.array(a) for a in pair) for pair in self.weights], zeros(), zeros(), jnp.zeros(()))
        self.rng = np.random.default_rng(seed)

    def step_on(self, rows: np.ndarray) -> Any:
        self.carry, loss = self.one(self.carry, rows, self.x, self.targets)
        return loss

    def deal(self) -> Any:
        order = self.rng.permutation(len(self.X))[: self.used].astype(np.int32)
        return self.jnp.asarray(order.reshape(self.case.steps, -1))

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            self.carry, losses = self.epoch(self.carry, self.deal(), self.x, self.targets)
            float(losses.mean())
        self.jax.block_until_ready(self.carry)

    def accuracy(self, X: np.ndarray, y: np.ndarray) -> float:
        return float((np.asarray(self.forward(self.carry[0], X)).argmax(1) == y).mean())


class JaxStep(JaxScan):
    """One jitted call per step, its carry donated; the number of the batch is counted inside."""

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            order, losses = self.deal(), []
            for _ in range(self.case.steps):
                self.carry, loss = self.numbered(self.carry, order, self.x, self.targets)
                losses.append(loss)
            float(np.mean([np.asarray(loss) for loss in losses]))
        self.jax.block_until_ready(self.carry)
