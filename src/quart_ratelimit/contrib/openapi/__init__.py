"""This folder documents limits in quart-schema's OpenAPI document."""

from .provider import LimitedProvider

__all__ = ["LimitedProvider"]
