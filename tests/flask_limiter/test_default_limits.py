"""Default limits and application limits: whom they bind, and their group's settings."""

from typing import Any

import pytest
from quart import abort, request

from quart_ratelimit import ApplicationLimit, Limit

from ..support.apps import Clock, Make, ask, view


async def test_defaults_bind_views_without_limits_of_their_own(make: Make) -> None:
    app, limiter = make({"RATELIMIT_DEFAULT": "1 per hour; 10 per day"})
    view(app, "/own", limiter.limit("100 per hour;10/minute"))
    view(app, "/")
    assert await ask(app, "/own", 2) == [200, 200]
    assert await ask(app, "/", 2) == [200, 429]


async def test_a_limit_that_does_not_override_adds_to_the_defaults(
    make: Make, clock: Clock
) -> None:
    app, limiter = make(default_limits=["2/minute"])
    view(app, "/", limiter.limit("1/second", override_defaults=False))
    assert await ask(app, "/", 2) == [200, 429]
    clock.forward(1)
    assert await ask(app, "/", 1) == [200]
    clock.forward(1)
    assert await ask(app, "/", 1) == [429]


async def test_the_defaults_may_count_by_method_beside_a_views_limit(
    make: Make, clock: Clock
) -> None:
    app, limiter = make(default_limits=["2/minute"], default_limits_per_method=True)
    limit = limiter.limit("1/second", override_defaults=False, methods=["GET"])
    view(app, "/", limit, methods=["GET", "PUT"])
    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/", 3, method="PUT") == [200, 200, 429]
    clock.forward(1)
    assert await ask(app, "/", 2) == [200, 429]


@pytest.mark.parametrize("by_config", [False, True])
async def test_a_group_may_count_by_method(make: Make, by_config: bool) -> None:
    if by_config:
        config = {"RATELIMIT_DEFAULT": "1/hour", "RATELIMIT_DEFAULTS_PER_METHOD": True}
        app, _ = make(config)
    else:
        app, _ = make(default_limits=["1/hour"], default_limits_per_method=True)
    view(app, "/", methods=["GET", "POST"])
    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/", 2, method="POST") == [200, 429]


async def test_the_defaults_may_be_exempted_by_a_function(make: Make, clock: Clock) -> None:
    def backdoor() -> bool:
        return request.headers.get("Backdoor") == "true"

    app, _ = make({"RATELIMIT_DEFAULT": "1/hour", "RATELIMIT_DEFAULTS_EXEMPT_WHEN": backdoor})
    view(app, "/")
    assert await ask(app, "/", 2, Backdoor="true") == [200, 200]
    assert await ask(app, "/", 2) == [200, 429]
    clock.forward(3600)
    assert await ask(app, "/", 1) == [200]


async def test_both_groups_may_cost_what_a_function_says(make: Make, clock: Clock) -> None:
    async def cost() -> int:
        return 2 if "Suspect" in request.headers else 1

    app, _ = make(
        {
            "RATELIMIT_APPLICATION": "7 per day",
            "RATELIMIT_APPLICATION_COST": cost,
            "RATELIMIT_DEFAULT": "2 per hour",
            "RATELIMIT_DEFAULTS_COST": cost,
        }
    )
    view(app, "/")
    view(app, "/other")
    assert await ask(app, "/", 3) == [200, 200, 429]
    clock.forward(3600)
    assert await ask(app, "/", 2, Suspect="1") == [200, 429]
    assert await ask(app, "/other", 1, Suspect="1") == [200]
    clock.forward(3600)
    assert await ask(app, "/other", 1, Suspect="1") == [429]  # 6 of the 7 are used
    assert await ask(app, "/other", 1) == [200]


async def test_a_default_may_be_a_function(make: Make) -> None:
    app, _ = make(default_limits=[lambda: "1/minute" if "Bad" in request.headers else "2/minute"])
    view(app, "/")
    view(app, "/other")
    assert await ask(app, "/", 3) == [200, 200, 429]
    assert await ask(app, "/other", 2, Bad="1") == [200, 429]


async def test_application_limits_count_all_views_together(make: Make) -> None:
    app, limiter = make(application_limits=["2/minute"])
    view(app, "/")
    view(app, "/own", limiter.limit("5/minute"))
    assert await ask(app, "/", 1) == [200]
    assert await ask(app, "/own", 2) == [200, 429]
    assert await ask(app, "/", 1, who="bob") == [200]


async def test_application_limits_stay_charged_when_a_views_limit_refuses(
    make: Make, clock: Clock
) -> None:
    app, limiter = make(application_limits=["3/minute"])
    view(app, "/own", limiter.limit("1/minute"))
    view(app, "/")
    assert await ask(app, "/own", 2) == [200, 429]
    assert await ask(app, "/", 2) == [200, 429]
    clock.forward(60)
    assert await ask(app, "/own", 1) == [200]


async def test_a_default_that_refuses_does_not_charge_the_application_limit(make: Make) -> None:
    app, _ = make(application_limits=["2/minute"], default_limits=["1/minute"])
    view(app, "/")
    view(app, "/other")
    assert await ask(app, "/", 5) == [200] + [429] * 4
    assert await ask(app, "/other", 1) == [200]


async def test_application_limits_may_depend_on_request_and_response(make: Make) -> None:
    app, _ = make(
        application_limits=["2/minute"],
        application_limits_exempt_when=lambda: "Free" in request.headers,
        application_limits_deduct_when=lambda response: response.status_code == 400,
    )
    view(app, "/")

    @app.get("/bad")
    async def bad() -> None:
        abort(400)

    assert await ask(app, "/", 1) == [200]
    assert await ask(app, "/bad", 1) == [400]
    assert await ask(app, "/", 1) == [200]
    assert await ask(app, "/bad", 1) == [400]
    assert await ask(app, "/bad", 1) == [429]
    assert await ask(app, "/", 1) == [429]
    assert await ask(app, "/", 1, Free="1") == [200]


async def test_application_limits_may_count_by_method(make: Make) -> None:
    app, _ = make(application_limits=["2/minute"], application_limits_per_method=True)
    view(app, "/", methods=["GET", "POST"])
    view(app, "/other", methods=["GET", "POST"])
    for method in ("GET", "POST"):
        assert await ask(app, "/", 1, method=method) == [200]
        assert await ask(app, "/other", 2, method=method) == [200, 429]


async def test_an_application_limit_may_be_a_function(make: Make) -> None:
    def limit() -> str:
        return "1/minute" if "Suspect" in request.headers else "2/minute"

    app, _ = make(application_limits=[limit])
    view(app, "/")
    view(app, "/other")
    assert await ask(app, "/", 2) == [200, 200]
    assert await ask(app, "/other", 1) == [429]
    assert await ask(app, "/", 1, Suspect="1") == [200]
    assert await ask(app, "/other", 1, Suspect="1") == [429]


async def test_application_defaults_and_a_views_limit_by_method(make: Make, clock: Clock) -> None:
    config = {
        "RATELIMIT_APPLICATION": "5/second",
        "RATELIMIT_DEFAULT": "1/second",
        "RATELIMIT_DEFAULTS_PER_METHOD": True,
    }
    app, limiter = make(config)
    view(app, "/")
    view(app, "/own", limiter.limit("3/second", methods=["GET"]), methods=["GET", "PUT"])
    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/own", 4) == [200, 200, 200, 429]
    assert await ask(app, "/own", 1) == [429]
    clock.forward(1)
    assert await ask(app, "/own", 2, method="PUT") == [200, 429]
    assert await ask(app, "/own", 3) == [200, 200, 200]
    assert await ask(app, "/", 1) == [429]  # the application's five are used


@pytest.mark.parametrize(
    ("finalized", "statuses"), [(True, [200, 200, 429]), (False, [200, 429, 429])]
)
async def test_a_limit_object_keeps_its_own_settings_unless_it_asks_for_the_groups(
    make: Make, finalized: bool, statuses: list[int]
) -> None:
    limit = Limit("2/minute", finalized=finalized)
    app, _ = make(default_limits=[limit], default_limits_cost=2)
    view(app, "/")
    assert await ask(app, "/", 3) == statuses


async def test_limit_objects_have_their_own_key_and_scope(make: Make) -> None:
    def user() -> str:
        return request.headers.get("User", "guest")

    limits: dict[str, Any] = {
        "default_limits": [Limit("1/minute", key_function=user)],
        "application_limits": [ApplicationLimit("3/minute", scope="all", key_function=user)],
    }
    app, _ = make(**limits)
    view(app, "/")
    view(app, "/other")
    assert await ask(app, "/", 2, who="ann") == [200, 429]
    assert await ask(app, "/", 1, who="bob") == [429]
    assert await ask(app, "/", 1, who="bob", User="bob") == [200]
    assert [limit.key_function for limit in limits["default_limits"]] == [user]


@pytest.mark.parametrize(("opted_in", "statuses"), [(False, [404] * 3), (True, [404, 429, 429])])
async def test_requests_without_a_route_are_limited_on_request(
    make: Make, opted_in: bool, statuses: list[int]
) -> None:
    app, _ = make(default_limits=["1/minute"], limit_unmatched=opted_in)
    view(app, "/")
    assert await ask(app, "/nowhere", 2) + await ask(app, "/elsewhere", 1) == statuses
    assert await ask(app, "/", 1, method="DELETE") == [429 if opted_in else 405]
    assert await ask(app, "/", 2) == [200, 429]


async def test_options_fall_under_the_defaults_also_of_a_view_with_limits_of_its_own(
    make: Make,
) -> None:
    app, limiter = make(default_limits=["1/minute"])
    view(app, "/")
    view(app, "/own", limiter.limit("3/minute"))
    assert await ask(app, "/", 2, method="OPTIONS") == [200, 429]
    assert await ask(app, "/own", 3, method="OPTIONS") == [200, 429, 429]
    assert await ask(app, "/own", 4) == [200, 200, 200, 429]
