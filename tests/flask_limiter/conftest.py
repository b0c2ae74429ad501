"""Every test here may use an app that counts in memory, and its clock."""

from ..support.apps import clock, make

__all__ = ["clock", "make"]
