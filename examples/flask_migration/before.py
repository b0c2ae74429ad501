"""The Flask app before: the well-known snippet, one sync Redis call at a time.

Run: ``flask --app examples.flask_migration.before run -p 8001`` with a Redis at ``REDIS_URL``.
"""

import os
import time

import redis
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

app = Flask(__name__)
client = redis.Redis.from_url(os.environ.get("REDIS_URL") or "redis://localhost:6379/0")


def rate_limit(key: str, duration: int, requests: int) -> bool:
    """Whether the key is within its requests in these seconds."""
    bucket = f"rate_limit:{key}:{int(time.time() // duration)}"
    count = client.incr(bucket)
    if count == 1:
        client.expire(bucket, duration)
    return bool(count <= requests)


@app.route("/api/data")
def data() -> ResponseReturnValue:
    """Limited by hand."""
    if not rate_limit(str(request.remote_addr), 86_400, 10):
        return jsonify(message="Too many requests. Please try again later."), 429
    return jsonify(message="Here is your data!")
