"""Tokens of a language model: an estimate is reserved, the truth is settled.

Run: ``hypercorn examples.llm:app``, then
``curl -i -H 'X-User: ann' -d 'a b c' http://127.0.0.1:8000/chat``. A user has 100 tokens an hour;
a request that might take more than is left gets 429 before the model is asked.
"""

import os

from quart import Quart, abort, request

from quart_ratelimit import Limiter

TOKENS = "100/hour"
LONGEST_PROMPT = 60  # tokens; with the answer no more than the limit, as no wait helps beyond
LONGEST_ANSWER = 40  # tokens; what the model is told as its bound

app = Quart(__name__)
limiter = Limiter(app=app, storage_uri=os.environ.get("REDIS_URL") or "memory://")


async def model(prompt: str) -> tuple[str, int]:
    """Stands for a language model: an answer, and the tokens that prompt and answer took."""
    if not prompt:
        raise ValueError("the model has nothing to answer")
    answer = prompt.upper()
    return answer, len(prompt.split()) + len(answer.split())


@app.post("/chat")
async def chat() -> dict[str, object]:
    """Never spends more than the limit, also when many prompts of a user run at once."""
    prompt = str(await request.get_data(as_text=True))
    user = request.headers.get("X-User", "anonymous")  # yours comes from a session
    length = len(prompt.split())
    if length > LONGEST_PROMPT:
        abort(413)
    estimate = length + LONGEST_ANSWER
    async with limiter.reserve(TOKENS, user, cost=estimate) as reservation:
        answer, tokens = await model(prompt)  # fails: all is given back
        reservation.settle(tokens)  # the difference is given back as the block ends
    return {"answer": answer, "tokens": tokens, "left": reservation.decisions[0].remaining}
