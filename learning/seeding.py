"""Seeds: one number for each purpose, derived from the run's, and set where chance is drawn.

Rule: a seed is a function of names, never of a generator's state, so that it is the same after a
restart and in whatever order tasks come.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys

SEED_LIMIT = 2**32
"""Seeds are below this: what numpy's global generator takes."""


def derive_seed(run_seed: int, *names: str | int) -> int:
    """A seed in [0, 2**32) for a purpose, such as `derive_seed(run_seed, task_id)`.

    The same arguments give the same seed, on every machine; "1" and 1 are different names.
    """
    purpose = json.dumps([run_seed, *names], separators=(",", ":"))
    return int(hashlib.sha256(purpose.encode()).hexdigest()[:8], 16)


def seed_everything(seed: int) -> None:
    """Seed `random`, numpy's global generator and, where it is already imported, torch.

    torch is never imported for it: a numpy learner's process stays small. Call this once the
    learner is loaded, which is when most learners import torch. One that imports torch only inside
    `train` calls `torch.manual_seed(request.seed)` itself; `TorchLearner` does.

    Args:
        seed: In [0, 2**32).

    Raises:
        ValueError: If it is not.
    """
    if not 0 <= seed < SEED_LIMIT:
        raise ValueError(f"expected a seed in [0, 2**32), came {seed}")
    import numpy as np  # here, so that deriving seeds does not cost the agent numpy

    random.seed(seed)
    np.random.seed(seed)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
