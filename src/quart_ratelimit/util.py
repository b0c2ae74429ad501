"""Key functions under Flask-Limiter's names."""

from .limiter import get_remote_address

__all__ = ["get_remote_address"]
