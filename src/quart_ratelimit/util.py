"""Key functions under Flask-Limiter's names."""

from .client import get_remote_address

__all__ = ["get_remote_address"]
