"""This folder shows operators what the limits do in all workers."""

from .panel import COOKIE, FIELD, dashboard

__all__ = ["COOKIE", "FIELD", "dashboard"]
