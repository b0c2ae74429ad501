"""Brute force at a login: only failures count, per address and per account.

Run: ``hypercorn examples.login:app`` (with ``REDIS_URL`` set, all workers count together), then
``curl -i -d user=ann -d password=guess http://127.0.0.1:8000/login``: the 6th guess gets 429.
"""

import hmac
import os

from quart import Quart, request
from quart.typing import ResponseReturnValue
from werkzeug.sansio.response import Response

from quart_ratelimit import Limiter

PASSWORDS = {"ann": "correct horse", "bob": "battery staple"}  # yours are hashed, in a database

app = Quart(__name__)
limiter = Limiter(app=app, storage_uri=os.environ.get("REDIS_URL") or "memory://")


async def account() -> str:
    """The account that is tried, in one spelling, whoever tries it."""
    form = await request.form
    return str(form.get("user", "")).strip().lower()


def failed(response: Response) -> bool:
    """Whether the response is charged."""
    return response.status_code == 401


@app.post("/login")
@limiter.limit("5/minute;20/hour", deduct_when=failed)  # one address, whatever it tries
@limiter.limit("10/hour", key_func=account, deduct_when=failed)  # one account, whoever tries it
async def login() -> ResponseReturnValue:
    """The places are reserved before this runs, so guesses in parallel gain nothing."""
    form = await request.form
    known = PASSWORDS.get(await account(), "")
    if known and hmac.compare_digest(known.encode(), form.get("password", "").encode()):
        return {"welcome": await account()}
    return {"message": "Wrong name or password."}, 401
