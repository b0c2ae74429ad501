"""Flask-Limiter's public names: each is ours, too,
or docs/howto/migrating.md says that it is not.
"""

import importlib
import inspect
import re
from typing import Any

import flask_limiter
import pytest
from flask_limiter.constants import ConfigVars
from quart import Quart

import quart_ratelimit
from quart_ratelimit import Limiter, client_address, constants
from quart_ratelimit.contrib.util import get_remote_address_cloudflare
from quart_ratelimit.testing import in_memory

from ..support.serving import ROOT

MODULES = ["util", "contrib.util", "constants", "errors", "commands"]
TEXT = (ROOT / "docs" / "howto" / "migrating.md").read_text("utf-8")
(ROW,) = re.findall(r"^\| `limiter\.limit_manager`.*$", TEXT, re.M)
#: What the page says is not there.
NOT_HERE = set(re.findall(r"`(?:\w*\.)*(\w+)`", ROW.split("|")[1]))


def public(thing: Any) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def theirs_by_ours() -> list[tuple[str, set[str], set[str]]]:
    """Where, the names there are in Flask-Limiter, and those that there are here."""
    found = [("flask_limiter", set(flask_limiter.__all__), public(quart_ratelimit))]
    for name in flask_limiter.__all__:
        ours = getattr(quart_ratelimit, name)
        found.append((name, public(getattr(flask_limiter, name)), public(ours)))
    limiter = flask_limiter.Limiter(lambda: "")
    found.append(("a Limiter", public(limiter), public(Limiter())))
    found.append(("ConfigVars", public(ConfigVars), public(constants.ConfigVars)))
    for name in MODULES:
        module = importlib.import_module(f"flask_limiter.{name}")
        defined = {
            key
            for key in public(module)
            if not inspect.ismodule(value := getattr(module, key))
            and getattr(value, "__module__", module.__name__) == module.__name__
        }
        ours = importlib.import_module(f"quart_ratelimit.{name}")
        found.append((name, defined - {"annotations"}, public(ours)))
    return found


@pytest.mark.parametrize(("where", "theirs", "ours"), theirs_by_ours())
def test_each_name_is_here_or_the_page_says_that_it_is_not(
    where: str, theirs: set[str], ours: set[str]
) -> None:
    assert theirs
    assert theirs - ours <= NOT_HERE


def test_what_the_page_says_is_not_here_is_not() -> None:
    missing = {name for _, theirs, ours in theirs_by_ours() for name in theirs - ours}
    assert missing >= NOT_HERE


def test_the_variables_have_the_same_values() -> None:
    for name in public(ConfigVars):
        assert getattr(constants.ConfigVars, name) == getattr(ConfigVars, name)


@pytest.fixture
def site() -> Any:
    app = Quart(__name__)
    limiter = Limiter(get_remote_address_cloudflare, app=app)

    @app.get("/")
    @limiter.limit("1/minute")
    async def index() -> str:
        return "OK"

    with in_memory(limiter):
        yield app


async def statuses(app: Quart, *clients: str) -> list[int]:
    told = [{} if who == "none" else {"CF-Connecting-IP": who} for who in clients]
    return [(await app.test_client().get("/", headers=each)).status_code for each in told]


async def test_a_client_counts_by_what_cloudflare_says(site: Quart) -> None:
    assert await statuses(site, "192.0.2.1", "192.0.2.2", "192.0.2.1") == [200, 200, 429]


async def test_a_request_that_came_around_cloudflare_is_a_bad_one(site: Quart) -> None:
    assert await statuses(site, "none", "none") == [400, 400]


def test_outside_a_request_there_is_no_client() -> None:
    with pytest.raises(RuntimeError, match="in a request"):
        get_remote_address_cloudflare()


def test_what_its_docstring_recommends_can_be_written() -> None:
    assert client_address(trusted_proxies=["173.245.48.0/20"], header="CF-Connecting-IP")
