"""The algorithms: each is one subclass of `Quota` and its ``.lua`` twin of the same name."""

from .fixed_window import FixedWindow
from .quota import Decision, Hit, Quota

#: Every algorithm by the name that its ``.lua`` twin bears.
ALGORITHMS: dict[str, type[Quota]] = {quota.algorithm: quota for quota in (FixedWindow,)}

__all__ = ["ALGORITHMS", "Decision", "FixedWindow", "Hit", "Quota"]
