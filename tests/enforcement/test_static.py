"""Static files are what Quart's own route serves, and no view that is named so."""

from quart import Blueprint, Quart

from quart_ratelimit import Limiter

from ..support.apps import ask, view


async def test_a_view_named_static_is_limited_and_static_files_are_not() -> None:
    app = Quart(__name__, static_folder="../support/static")
    Limiter(app=app, default_limits=["1/minute"])
    own = Blueprint("own", __name__, url_prefix="/own")
    view(own, "/", name="static")
    files = Blueprint("files", __name__, url_prefix="/files", static_folder="../support/static")
    app.register_blueprint(own)
    app.register_blueprint(files)
    assert await ask(app, "/own/", 2) == [200, 429]
    assert await ask(app, "/static/here.txt", 3) == [200, 200, 200]
    assert await ask(app, "/files/static/here.txt", 3) == [200, 200, 200]
