"""Tokens of a language model: reserve an estimate, then settle what was spent.

Run: ``hypercorn examples.llm:app``, then
``curl -i -H 'X-User: ann' -d 'a b c' http://127.0.0.1:8000/chat``. A user has 100 tokens per hour.
A request that might take more than is left gets 429 before the model is called.
"""

import os

from quart import Quart, abort, request

from quart_ratelimit import Limiter

TOKENS = "100/hour"
LONGEST_PROMPT = 60  # tokens; with the answer at most the limit
LONGEST_ANSWER = 40  # tokens; give the model the same bound

app = Quart(__name__)
limiter = Limiter(app=app, storage_uri=os.environ.get("REDIS_URL") or "memory://")


async def model(prompt: str) -> tuple[str, int]:
    """Stand for a language model; return its answer and the tokens of prompt and answer."""
    if not prompt:
        raise ValueError("the model has nothing to answer")
    answer = prompt.upper()
    return answer, len(prompt.split()) + len(answer.split())


@app.post("/chat")
async def chat() -> dict[str, object]:
    """Never spend more than the limit, even if a user sends many prompts at once."""
    prompt = str(await request.get_data(as_text=True))
    user = request.headers.get("X-User", "anonymous")  # in a real app: from the session
    length = len(prompt.split())
    if length > LONGEST_PROMPT:
        abort(413)
    estimate = length + LONGEST_ANSWER
    async with limiter.reserve(TOKENS, user, cost=estimate) as reservation:
        answer, tokens = await model(prompt)  # if it fails, all is given back
        reservation.settle(tokens)  # the rest is given back when the block ends
    return {"answer": answer, "tokens": tokens, "left": reservation.decisions[0].remaining}
