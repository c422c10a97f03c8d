"""Ways to share out one data set among workers, for experiments and tests.

Laws, of each function here: every example is given to exactly one part; the same generator state
gives the same parts; indices within a part ascend. The generator is an argument and the only source
of chance.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Indices = NDArray[np.int64]

MAX_DRAWS = 20
"""How often `dirichlet` draws before it repairs parts that are too small."""


def iid(num_examples: int, parts: int, rng: np.random.Generator) -> list[Indices]:
    """Parts of equal size (to one example) drawn without regard to anything.

    Args:
        num_examples: How many examples there are.
        parts: How many parts to make, 1 to `num_examples`.
        rng: Where chance is drawn.

    Raises:
        ValueError: If there are fewer examples than parts.
    """
    _require_enough(num_examples, parts, 1)
    return _ascending(np.array_split(rng.permutation(num_examples), parts))


def shards(
    labels: ArrayLike, parts: int, rng: np.random.Generator, *, shards_per_part: int = 2
) -> list[Indices]:
    """The pathological split of McMahan et al. 2017: sorted by label, cut, dealt out.

    Most parts hold about `shards_per_part` labels.

    Args:
        labels: `(num_examples,)`, anything that sorts.
        parts: How many parts to make.
        rng: Where chance is drawn.
        shards_per_part: How many shards each part is dealt.

    Raises:
        ValueError: If there are fewer examples than shards.
    """
    classes = _classes(labels)
    if shards_per_part < 1:
        raise ValueError(f"expected shards_per_part of at least 1, came {shards_per_part}")
    _require_enough(len(classes), parts, shards_per_part)
    shuffled = rng.permutation(len(classes))
    by_label = shuffled[np.argsort(classes[shuffled], kind="stable")]
    pieces = np.array_split(by_label, parts * shards_per_part)
    hands = rng.permutation(len(pieces)).reshape(parts, shards_per_part)
    return _ascending([np.concatenate([pieces[piece] for piece in hand]) for hand in hands])


def dirichlet(
    labels: ArrayLike,
    parts: int,
    rng: np.random.Generator,
    *,
    alpha: float = 0.5,
    min_examples: int = 1,
) -> list[Indices]:
    """Label skew (Hsu et al. 2019): each label is shared out by a draw of Dirichlet(alpha).

    A small alpha gives most of a label to few parts; a large one nears `iid`. Draws anew, at most
    `MAX_DRAWS` times, while a part is too small; then the largest parts give to the smallest.

    Args:
        labels: `(num_examples,)`, anything that sorts.
        parts: How many parts to make.
        rng: Where chance is drawn.
        alpha: Above 0.
        min_examples: What every part has at least.

    Raises:
        ValueError: If alpha is not above 0 or there are fewer than parts · min_examples examples.
    """
    if not (alpha > 0 and np.isfinite(alpha)):
        raise ValueError(f"expected an alpha above 0, came {alpha}")
    classes = _classes(labels)
    _require_enough(len(classes), parts, min_examples)
    drawn: list[Indices] = []
    for _ in range(MAX_DRAWS):
        drawn = _draw_by_label(classes, parts, alpha, rng)
        if min(map(len, drawn)) >= min_examples:
            break
    return _ascending(_repaired(drawn, min_examples))


def size_skew(
    num_examples: int,
    parts: int,
    rng: np.random.Generator,
    *,
    law: Literal["power", "lognormal"] = "power",
    spread: float = 1.0,
    min_examples: int = 1,
) -> list[Indices]:
    """Parts of unequal size, drawn without regard to labels.

    Args:
        num_examples: How many examples there are.
        parts: How many parts to make.
        rng: Where chance is drawn.
        law: "power": the k-th largest part has a share in proportion to k ** -spread (Zipf's law);
            "lognormal": to exp(spread · a standard normal draw).
        spread: 0 for equal sizes; 0 to 10.
        min_examples: What every part has at least; only what is above it follows the law.

    Raises:
        ValueError: If spread is out of range, the law is unknown, or there are fewer than
            parts · min_examples examples.
    """
    if not 0 <= spread <= 10:
        raise ValueError(f"expected a spread of 0 to 10, came {spread}")
    _require_enough(num_examples, parts, min_examples)
    if law == "power":
        logs = -spread * np.log(rng.permutation(parts) + 1.0)
    elif law == "lognormal":
        logs = spread * rng.standard_normal(parts)
    else:
        raise ValueError(f'expected a law of "power" or "lognormal", came {law!r}')
    shares = np.exp(logs - logs.max())
    sizes = min_examples + _apportioned(shares, num_examples - parts * min_examples)
    return _ascending(np.split(rng.permutation(num_examples), np.cumsum(sizes)[:-1]))


def _require_enough(num_examples: int, parts: int, each: int) -> None:
    if parts < 1 or each < 0:
        raise ValueError(f"expected at least 1 part of at least 0, came {parts} of {each}")
    if num_examples < parts * each:
        raise ValueError(
            f"{parts} parts of at least {each} need {parts * each} examples, came {num_examples}"
        )


def _classes(labels: ArrayLike) -> Indices:
    """Labels of any kind as numbers 0, 1 … in their sorted order."""
    flat: NDArray[Any] = np.asarray(labels)
    if flat.ndim != 1:
        raise ValueError(f"expected labels of shape (num_examples,), came {flat.shape}")
    return np.unique(flat, return_inverse=True)[1].astype(np.int64)


def _draw_by_label(
    classes: Indices, parts: int, alpha: float, rng: np.random.Generator
) -> list[Indices]:
    pieces: list[list[Indices]] = [[] for _ in range(parts)]
    for label in range(int(classes.max(initial=-1)) + 1):
        members = rng.permutation(np.flatnonzero(classes == label))
        cuts = (np.cumsum(_shares(parts, alpha, rng))[:-1] * len(members)).astype(np.int64)
        for part, piece in zip(pieces, np.split(members, cuts), strict=True):
            part.append(piece)
    nothing = np.empty(0, np.int64)
    return [np.concatenate([nothing, *part]) for part in pieces]


def _shares(parts: int, alpha: float, rng: np.random.Generator) -> NDArray[np.float64]:
    shares = rng.dirichlet(np.full(parts, alpha))
    if np.isfinite(shares).all() and 0 < shares.sum() < 1.5:
        return np.minimum(shares, 1.0)
    # Beyond the range of floats a draw is nan; the limits of the distribution are these.
    if alpha >= 1:
        return np.full(parts, 1 / parts)
    all_to_one = np.zeros(parts)
    all_to_one[rng.integers(parts)] = 1.0
    return all_to_one


def _repaired(parts: list[Indices], min_examples: int) -> list[Indices]:
    """Move examples from the largest parts until none has fewer than `min_examples`.

    Each move brings one part nearer; as there are enough examples, the largest part always has
    more than `min_examples` while another has fewer.
    """
    held = [list(part) for part in parts]
    for part in held:
        while len(part) < min_examples:
            part.append(max(held, key=len).pop())
    return [np.array(part, np.int64) for part in held]


def _apportioned(shares: NDArray[np.float64], total: int) -> Indices:
    """Whole numbers in proportion to shares that sum to `total` (largest remainders)."""
    exact = shares / shares.sum() * total
    sizes: Indices = np.floor(exact).astype(np.int64)
    left = total - int(sizes.sum())
    sizes[np.argsort(sizes - exact, kind="stable")[:left]] += 1
    return sizes


def _ascending(parts: list[Indices]) -> list[Indices]:
    return [np.sort(part).astype(np.int64) for part in parts]
