"""Decide in a serving process which sorting kernel runs, by a measured table.

    dispatcher = runtime.Dispatcher.load("tables/gfx950.yaml", compute_units=256)
    dispatcher.policy(tokens=32, num_experts=128, topk=4)  # 1: oneshot, 2: multiphase, 3: wave

Light to import, needs no GPU. `policy` measures nothing, calls no GPU and takes no lock, so that it may be called
during graph capture and from many threads.
"""

from moesort_tune.runtime.dispatcher import Dispatcher, get, reset
from moesort_tune.runtime.explanation import Explanation
from moesort_tune.runtime.lookup import Reason

__all__ = ["Dispatcher", "Explanation", "Reason", "get", "reset"]
