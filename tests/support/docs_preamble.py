"""What a fragment in the documentation may use without making it: the app that a reader has.

Only for the type checker: fragments begin with ``from tests.support.docs_preamble import *``.
"""

from quart import Quart

from quart_ratelimit import Limiter

app: Quart
limiter: Limiter
