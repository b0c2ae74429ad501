"""These modules show operators the limits, and clear them: ``quart limiter``."""

from .commands import cli

__all__ = ["cli"]
