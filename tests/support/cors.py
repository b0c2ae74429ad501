"""A stand-in for quart-cors, whose functions belong to a module of its name."""

from typing import Any

_SOURCE = """
from functools import wraps
from quart import current_app, request

def route_cors(*, provide_automatic_options=True):
    def decorator(func):
        if provide_automatic_options:
            func.required_methods = getattr(func, "required_methods", set())
            func.required_methods.add("OPTIONS")
            func.provide_automatic_options = False

        @wraps(func)
        async def wrapper(*args, **kwargs):
            if provide_automatic_options and request.method == "OPTIONS":
                return current_app.response_class()
            return await current_app.ensure_async(func)(*args, **kwargs)

        return wrapper
    return decorator
"""

_module: dict[str, Any] = {"__name__": "quart_cors"}
exec(_SOURCE, _module)  # the module is not among the project's dependencies

#: As `quart_cors.route_cors`.
route_cors = _module["route_cors"]
