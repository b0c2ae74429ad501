"""Key functions under Flask-Limiter's names."""

from __future__ import annotations

from ..clients.key_functions import LOCAL, known_connection, reading

__all__ = ["get_remote_address_cloudflare"]

HEADER = "CF-Connecting-IP"


@reading(HEADER)
def get_remote_address_cloudflare() -> str:
    """What ``CF-Connecting-IP`` says, whoever sent it; a request without it is answered by 400.

    Flask-Limiter's, and right only where no one but Cloudflare reaches the server: any other
    client writes the header, and with it its bucket. `client_address` believes the header of
    Cloudflare's networks alone: ``client_address(trusted_proxies=[...], header=
    "CF-Connecting-IP")``.
    """
    return known_connection().headers[HEADER] or LOCAL
