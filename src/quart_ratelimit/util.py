"""Key functions under Flask-Limiter's names."""

from .clients.key_functions import get_remote_address

__all__ = ["get_remote_address"]
