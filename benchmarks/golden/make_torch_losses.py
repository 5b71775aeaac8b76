"""Writes tests/nn/losses/torch_losses.json: losses and gradients by PyTorch in float64, scikit-learn's d2.

::

    python benchmarks/golden/make_torch_losses.py      # needs torch and scikit-learn; the tests do not

Where torch has the loss it is torch's (F.cross_entropy, F.l1_loss, F.huber_loss, F.poisson_nll_loss,
F.gaussian_nll_loss); focal, gamma and pinball are written down from their definitions and differentiated by autograd.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.metrics
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own documentation gives it

OUT = Path(__file__).parents[2] / "tests" / "nn" / "losses" / "torch_losses.json"
N, K = 6, 4
LEVELS = (0.05, 0.5, 0.8, 0.9)

Rows = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # l_i, or l_ij if a row has several


def focal(z: torch.Tensor, t: torch.Tensor, gamma: float) -> torch.Tensor:
    log_p = F.log_softmax(z, dim=1).gather(1, t[:, None])[:, 0]
    return -((1 - log_p.exp()) ** gamma) * log_p


def pinball(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    q = torch.cumsum(torch.cat([z[:, :1], F.softplus(z[:, 1:], threshold=1e9)], dim=1), dim=1)
    u = torch.tensor(LEVELS, dtype=torch.float64)
    return torch.maximum(u * (t - q), (u - 1) * (t - q))


def gaussian(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    k = z.shape[1] // 2
    return F.gaussian_nll_loss(z[:, :k], t, z[:, k:].exp(), eps=1e-300, reduction="none")


CASES: dict[str, tuple[str, dict[str, Any], Rows]] = {  # name, options, rows
    "smoothed": ("softmax_cross_entropy", {"label_smoothing": 0.1},
                 lambda z, t: F.cross_entropy(z, t, label_smoothing=0.1, reduction="none")),
    "half smoothed": ("softmax_cross_entropy", {"label_smoothing": 0.5},
                      lambda z, t: F.cross_entropy(z, t, label_smoothing=0.5, reduction="none")),
    "focal 2": ("focal", {"gamma": 2.0}, lambda z, t: focal(z, t, 2.0)),
    "focal 0.5": ("focal", {"gamma": 0.5}, lambda z, t: focal(z, t, 0.5)),
    "absolute": ("absolute_error", {}, lambda z, t: F.l1_loss(z, t, reduction="none")),
    "huber": ("huber", {"delta": 1.0}, lambda z, t: F.huber_loss(z, t, reduction="none")),
    "huber 0.3": ("huber", {"delta": 0.3}, lambda z, t: F.huber_loss(z, t, delta=0.3, reduction="none")),
    "poisson": ("poisson", {}, lambda z, t: F.poisson_nll_loss(z, t, log_input=True, full=False, reduction="none")),
    "gamma": ("gamma", {}, lambda z, t: z + t * torch.exp(-z)),
    "quantile": ("quantile", {"levels": LEVELS}, pinball),
    "gaussian": ("gaussian_nll", {}, gaussian),
}  # fmt: skip


def targets(name: str, rng: np.random.Generator) -> np.ndarray:
    if name in {"softmax_cross_entropy", "focal"}:
        return rng.integers(0, K, N)
    if name == "quantile":
        return rng.normal(size=(N, 1))
    if name == "gaussian_nll":
        return rng.normal(size=(N, K // 2))
    if name == "poisson":
        return rng.poisson(2.0, (N, K)).astype(float)
    return rng.gamma(2.0, size=(N, K)) if name == "gamma" else rng.normal(size=(N, K))


def of_losses(rng: np.random.Generator) -> list[dict[str, Any]]:
    found = []
    for name, options, rows in CASES.values():
        for size, weighted in [(1.0, False), (1.0, True), (5.0, False), (5.0, True)]:
            logits, t = size * rng.normal(size=(N, K)), targets(name, rng)
            w = rng.uniform(0, 2, N) if weighted else None
            z = torch.tensor(logits, requires_grad=True)
            losses = rows(z, torch.tensor(t))
            losses = losses if losses.ndim == 1 else losses.mean(dim=1)
            loss = losses.mean() if w is None else (losses * torch.tensor(w)).sum() / w.sum()
            loss.backward()
            assert z.grad is not None
            found.append(
                {
                    "name": name,
                    "options": options,
                    "logits": logits.tolist(),
                    "targets": t.tolist(),
                    "weights": None if w is None else w.tolist(),
                    "loss": loss.item(),
                    "gradient": z.grad.tolist(),
                }
            )
    return found


def of_scores(rng: np.random.Generator) -> list[dict[str, Any]]:
    """What a net's logits explain: 12 rows, one column."""
    found = []
    z, n = rng.normal(size=12), 12
    of_loss: dict[str, tuple[np.ndarray, Callable[..., float]]] = {
        "squared_error": (rng.normal(size=n), lambda t, w: sklearn.metrics.r2_score(t, z, sample_weight=w)),
        "absolute_error": (
            rng.normal(size=n), lambda t, w: sklearn.metrics.d2_absolute_error_score(t, z, sample_weight=w)
        ),
        "poisson": (
            rng.poisson(2.0, n).astype(float),
            lambda t, w: sklearn.metrics.d2_tweedie_score(t, np.exp(z), sample_weight=w, power=1),
        ),
        "gamma": (
            rng.gamma(2.0, size=n),
            lambda t, w: sklearn.metrics.d2_tweedie_score(t, np.exp(z), sample_weight=w, power=2),
        ),
        "quantile": (
            rng.normal(size=n), lambda t, w: sklearn.metrics.d2_pinball_score(t, z, sample_weight=w, alpha=0.7)
        ),
    }  # fmt: skip
    for name, (t, score) in of_loss.items():
        for w in (None, rng.uniform(0.1, 2, n)):
            options = {"levels": [0.7]} if name == "quantile" else {}
            found.append(
                {
                    "name": name,
                    "options": options,
                    "logits": z[:, None].tolist(),
                    "targets": t[:, None].tolist(),
                    "weights": None if w is None else w.tolist(),
                    "score": float(score(t, w)),
                }
            )
    return found


def main() -> None:
    rng = np.random.default_rng(20261123)
    found = {"torch": torch.__version__, "losses": of_losses(rng), "scores": of_scores(rng)}
    found["scikit-learn"] = sklearn.__version__
    OUT.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
