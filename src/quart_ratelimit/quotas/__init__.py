"""The algorithms: each is one subclass of `Quota` and its ``.lua`` twin of the same name."""

from .concurrency import Concurrency
from .fixed_window import FixedWindow
from .gcra import GCRA
from .moving_window import MovingWindow
from .penalty import Penalty
from .quota import Decision, Hit, Quota
from .sliding_window import SlidingWindow
from .strict_window import StrictWindow

#: Every algorithm by the name of its ``.lua`` twin.
ALGORITHMS: dict[str, type[Quota]] = {
    quota.algorithm: quota
    for quota in (
        FixedWindow,
        SlidingWindow,
        StrictWindow,
        MovingWindow,
        GCRA,
        Concurrency,
        Penalty,
    )
}

__all__ = [
    "ALGORITHMS",
    "GCRA",
    "Concurrency",
    "Decision",
    "FixedWindow",
    "Hit",
    "MovingWindow",
    "Penalty",
    "Quota",
    "SlidingWindow",
    "StrictWindow",
]
