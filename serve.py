"""The well-known Flask snippet as a Quart app: ``hypercorn serve:app`` or ``python serve.py``.

``REDIS_URL`` says where to count (none: in memory), ``RATE_LIMIT_REQUESTS`` (10) and
``RATE_LIMIT_DURATION`` (60, seconds) how much is allowed.
"""

from __future__ import annotations

import os

from quart import Quart, Response, jsonify

from quart_ratelimit import ConfigurationError, Limiter, rate_limit


def whole_number(name: str, default: int) -> int:
    """A positive whole number from the environment. Raises `ConfigurationError`."""
    value = os.environ.get(name, str(default))
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise ConfigurationError(
            f"{name}={value!r} is not a positive whole number; write e.g. {name}={default}"
        )
    return int(value)


def create_app() -> Quart:
    """The app, configured by the environment. Raises `ConfigurationError`."""
    app = Quart(__name__)
    uri = os.environ.get("REDIS_URL") or "memory://"
    Limiter(app=app, storage_uri=uri)
    requests = whole_number("RATE_LIMIT_REQUESTS", 10)
    duration = whole_number("RATE_LIMIT_DURATION", 60)

    @app.get("/api/data")
    # The snippet's own key, so that a Flask process on the same Redis shares the budget.
    @rate_limit(requests=requests, duration=duration, scope=None)
    async def data() -> Response:
        return jsonify(message="Here is your data!")

    @app.get("/api/status")
    async def status() -> Response:
        return jsonify(status="OK")

    return app


app = create_app()

if __name__ == "__main__":
    app.run()
