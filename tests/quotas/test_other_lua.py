"""The script decides alike in each Lua: Redis has 5.1, other servers have later ones."""

import importlib
import itertools

import pytest

from quart_ratelimit import Quota
from quart_ratelimit.stores.redis import script as plan

from ..support.other_lua import walk_in
from ..support.trails import QUOTAS, trail

#: Steps of a trail: each command of the script is a call over a socket here.
STEPS = 150


@pytest.mark.parametrize("version", ["lua51", "lua52", "lua53", "lua54"])
@pytest.mark.parametrize("quota", QUOTAS.values(), ids=list(QUOTAS))
def test_the_script_decides_alike_in_each_lua(redis_url: str, quota: Quota, version: str) -> None:
    pytest.importorskip("lupa")
    lua = importlib.import_module(f"lupa.{version}")
    steps = itertools.islice(trail(quota, seed=2), STEPS)
    walk_in(lua, redis_url, plan.script(), steps)


def test_a_script_for_one_lua_alone_is_seen(redis_url: str) -> None:
    lua = pytest.importorskip("lupa.lua54")
    script = plan.script().replace("local unpack = unpack or table.unpack", "")
    with pytest.raises((AssertionError, lua.LuaError)):
        walk_in(lua, redis_url, script, itertools.islice(trail(QUOTAS["fixed_window"], seed=2), 50))
