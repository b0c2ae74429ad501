"""Every kind of limit that there is: listed, tried, cleared, and known to the doctor."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import Limiter
from quart_ratelimit.cli import cli
from quart_ratelimit.extension.binding import binding_of

from ..support.every_limit import AMOUNTS, every_limit, use
from ..support.servers import RedisServer

pytest.importorskip("rich", reason="the extra 'cli' is not installed")

#: Kinds that code checks: no decorator declares them.
OF_CODE = {
    "block", "in_flight block", "messages block", "hit", "wait", "reserve", "hit without a scope",
}  # fmt: skip


def run(app: Quart, *args: str) -> tuple[int, str, str]:
    result = app.test_cli_runner().invoke(cli, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def keys_of(server: RedisServer, who: str) -> set[str]:
    names = {key.decode() if isinstance(key, bytes) else key for key in server.ask("KEYS", "*")}
    return {name for name in names if who in name}


def amounts(output: str) -> set[int]:
    return {int(found) for found in re.findall(r"\b(9\d\d)\b", output)}


async def served(app: Quart, *clients: str) -> None:
    async with app.test_app():
        for who in clients:
            await use(app, who)


def test_every_kind_is_listed_before_there_is_any_traffic(redis_url: str) -> None:
    app, _ = every_limit(storage_uri=redis_url)
    code, output, _ = run(app, "limits")
    assert code == 0
    missing = {kind for kind, amount in AMOUNTS.items() if amount not in amounts(output)}
    assert missing == OF_CODE
    assert "varies by request" in output


@pytest.mark.parametrize("secret", [None, "a secret of 16 bytes or more"])
@pytest.mark.parametrize("prefix", ["", "shop"])
async def test_every_kind_is_cleared_and_another_client_keeps_its_counts(
    start_redis: Callable[..., RedisServer], prefix: str, secret: str | None
) -> None:
    server = start_redis()
    settings: dict[str, Any] = {
        "storage_uri": server.url, "key_prefix": prefix, "key_secret": secret,
    }  # fmt: skip
    app, limiter = every_limit(**settings)
    binding = binding_of(limiter, app)
    assert binding is not None
    ann, bob = "192.0.2.77", "192.0.2.88"
    await served(app, ann, bob)
    names = [binding.settings.keys.join(who) for who in (ann, bob)]
    before = keys_of(server, names[1])
    assert len(keys_of(server, names[0])) == len(before) > 40

    again, _ = every_limit(**settings)  # as in a process of its own, without any traffic
    code, output, _ = run(again, "limits", f"--key={ann}")
    assert set(AMOUNTS.values()) <= amounts(output), output
    code, output, _ = run(again, "clear", f"--key={ann}", "-y")
    assert {kind for kind, n in AMOUNTS.items() if not cleared(output, n)} == set(), output
    left = keys_of(server, names[0])
    assert {key for key in left if not key_of_varying(key)} == set()
    assert code == 1  # by_plan: which counter it has is not known
    assert keys_of(server, names[1]) == before


def key_of_varying(key: str) -> bool:
    return "|plan:" in key


def cleared(output: str, amount: int) -> bool:
    return any(
        re.search(rf"\b{amount}\b", line) and "Cleared" in line for line in output.splitlines()
    )


def test_the_doctor_knows_of_every_kind(redis_url: str) -> None:
    app, _ = every_limit(storage_uri=redis_url)
    _, output, _ = run(app, "doctor", "--json")
    codes = {finding["code"] for finding in json.loads(output)}
    assert "QRL033" not in codes  # there is no limit
    assert "QRL035" in codes


def test_each_limit_is_listed_with_the_form_of_its_keys(redis_url: str) -> None:
    app, _ = every_limit(storage_uri=redis_url)
    (survey,) = json.loads(run(app, "limits", "--json")[1])
    places = [place for group in survey["groups"].values() for place in group]
    lines = [line for place in places for line in place["limits"]]
    by_limit = {line["limit"]: line for line in [*lines, *survey["application"]]}
    assert by_limit["905 per 1 day"]["keys"][0] == "{client}|route"
    assert by_limit["900 per 1 day"]["keys"][0] == "|app:|{client}|global"
    assert by_limit["918 per 1 hour"]["keys"] == ["client"]
    assert by_limit["918 per 1 hour"]["source"] == "rate_limit"
    assert "keys" in by_limit["922 at a time"]


def test_a_helper_of_another_app_of_the_process_is_not_listed(redis_url: str) -> None:
    every_limit(storage_uri=redis_url)
    app = Quart("other")
    Limiter(app=app, storage_uri="memory://", default_limits=["7/day"])
    assert str(AMOUNTS["rate_limit of a helper"]) not in run(app, "limits")[1]
