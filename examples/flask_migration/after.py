"""The Quart app after: the same route, keys, budget and answers.

Run: ``hypercorn examples.flask_migration.after:app`` with a Redis at ``REDIS_URL``. Run it next to
the Flask app: a client has 10 requests a day from both together, so traffic can move bit by bit.
"""

import os

from quart import Quart, Response, jsonify

from quart_ratelimit import Limiter, rate_limit

app = Quart(__name__)
uri = os.environ.get("REDIS_URL") or "redis://localhost:6379/0"
Limiter(app=app, storage_uri=uri)


@app.route("/api/data")
@rate_limit(requests=10, duration=86_400, scope=None)
async def data() -> Response:
    """Limited by the decorator."""
    return jsonify(message="Here is your data!")
