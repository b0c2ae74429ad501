"""The command line under Flask-Limiter's module name."""

from .cli import cli

__all__ = ["cli"]
