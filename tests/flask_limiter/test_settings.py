"""Where a setting comes from, and that each name, argument and default is Flask-Limiter's."""

import inspect
import logging
from typing import Any
from unittest import mock

import pytest
from quart import Quart, request

import quart_ratelimit
from quart_ratelimit import (
    ApplicationLimit,
    ConfigurationError,
    ExemptionScope,
    HeaderNames,
    Limit,
    Limiter,
    MetaLimit,
    RouteLimit,
    constants,
    errors,
    util,
)
from quart_ratelimit.clients.keys import keys_with
from quart_ratelimit.quotas import MovingWindow, SlidingWindow
from quart_ratelimit.settings.reading import read_settings
from quart_ratelimit.settings.table import VARIABLES, Settings
from quart_ratelimit.stores import MemoryStore, RedisStore

from ..support.apps import Clock, Make, ask, view


def function(_: object = None) -> str:
    return "someone"


def other(_: object = None) -> str:
    return "somebody else"


#: For each keyword that has a variable: a value for it, and another one.
VALUES: dict[str, tuple[Any, Any]] = {
    "key_func": (function, other),
    "key_prefix": ("own", "apps"),
    "default_limits": (["1/day"], "2/day"),
    "default_limits_per_method": (False, True),
    "default_limits_exempt_when": (function, other),
    "default_limits_deduct_when": (function, other),
    "default_limits_cost": (2, 3),
    "application_limits": (["1/day"], "2/day"),
    "application_limits_per_method": (False, True),
    "application_limits_exempt_when": (function, other),
    "application_limits_deduct_when": (function, other),
    "application_limits_cost": (2, 3),
    "meta_limits": (["1/day"], MetaLimit("2/day")),
    "on_breach": (function, other),
    "on_meta_breach": (function, other),
    "storage_uri": ("memory://", "redis://localhost"),
    "strategy": ("moving-window", "sliding-window-counter"),
    "headers_enabled": (False, True),
    "retry_after": ("delta-seconds", "http-date"),
    "swallow_errors": (False, True),
    "fail_on_first_breach": (True, False),
    "in_memory_fallback": (["1/day"], "2/day"),
    "in_memory_fallback_enabled": (False, True),
    "request_identifier": (function, other),
    "doctor": (False, True),
    "shadow": (False, True),
    "key_secret": ("a secret of 16 bytes or more", b"another secret of 16 bytes"),
}

#: What a setting is without a value from anywhere, where that is not None.
DEFAULTS: dict[str, Any] = {
    "key_func": util.get_remote_address,
    "key_prefix": "",
    "strategy": "fixed-window",
    "headers_enabled": False,
    "swallow_errors": False,
    "fail_on_first_breach": True,
    "default_limits": [],
    "application_limits": [],
    "meta_limits": [],
    "in_memory_fallback": [],
    "key_secret": "ann",
    "doctor": True,
    "shadow": False,
}


def read(given: dict[str, Any], config: dict[str, Any]) -> Settings:
    return read_settings({"default_key_func": util.get_remote_address, **given}, config)


def shown(settings: Settings, name: str) -> Any:
    """The setting of that keyword; a group's is read off its first limit."""
    for group in ("default_limits", "application_limits"):
        if name.startswith(f"{group}_"):
            return getattr(getattr(settings, group)[0], name.removeprefix(f"{group}_"))
    if name == "key_secret":  # nobody can read it, only see what it makes of a client
        return settings.keys.join("ann")
    value = getattr(settings, name)
    return [limit.limit_provider for limit in value] if isinstance(value, tuple) else value


def expected(value: Any) -> Any:
    if isinstance(value, MetaLimit):
        return [value.limit_provider]
    if value in VALUES["key_secret"]:
        return keys_with(value).join("ann")
    return [value] if value in ("1/day", "2/day") else value


def with_group(name: str) -> dict[str, Any]:
    """A group's settings show in a limit of the group."""
    for group in ("default_limits", "application_limits"):
        if name.startswith(f"{group}_"):
            return {group: ["9/day"]}
    return {}


def test_every_keyword_with_a_variable_is_tested() -> None:
    ours = {"header_fields", "partition_secret", "problem_details"}  # test_fields, test_problems
    merged = {"storage_options"}  # below
    assert set(VALUES) | ours | merged == set(VARIABLES)


@pytest.mark.parametrize("name", VALUES)
def test_the_constructor_wins_over_the_config_and_the_config_over_the_default(name: str) -> None:
    own, apps = VALUES[name]
    base = with_group(name)
    config = {VARIABLES[name]: apps}
    assert shown(read({**base, name: own}, config), name) == expected(own)
    assert shown(read(base, config), name) == expected(apps)
    if name in DEFAULTS:
        assert shown(read({}, {}), name) == DEFAULTS[name]


@pytest.mark.parametrize(
    "name", ["default_limits", "application_limits", "meta_limits", "in_memory_fallback"]
)
def test_an_empty_list_counts_as_none(name: str) -> None:
    assert shown(read({name: []}, {VARIABLES[name]: "2/day"}), name) == ["2/day"]


def test_a_variable_may_hold_a_list_of_limits() -> None:
    assert shown(read({}, {"RATELIMIT_DEFAULT": ["1/day", "2/day"]}), "default_limits") == [
        "1/day",
        "2/day",
    ]


def test_the_config_wins_for_each_single_storage_option() -> None:
    settings = read(
        {"storage_options": {"prefix": "own", "deadline": 1}},
        {"RATELIMIT_STORAGE_OPTIONS": {"prefix": "apps"}},
    )
    assert settings.storage_options == {"prefix": "apps", "deadline": 1}


@pytest.mark.parametrize(
    ("given", "config", "policy"),
    [
        ({}, {}, "local"),
        ({"swallow_errors": True}, {}, "open"),
        ({}, {"RATELIMIT_SWALLOW_ERRORS": True}, "open"),
        ({"swallow_errors": True, "in_memory_fallback_enabled": True}, {}, "local"),
        ({"swallow_errors": True}, {"RATELIMIT_IN_MEMORY_FALLBACK_ENABLED": True}, "local"),
        ({"in_memory_fallback": ["1/day"], "swallow_errors": True}, {}, "raise"),
        ({}, {"RATELIMIT_IN_MEMORY_FALLBACK": "1/day"}, "raise"),
        ({"on_store_error": "closed", "swallow_errors": True}, {}, "closed"),
    ],
)
def test_what_happens_while_the_store_is_away_follows_from_the_switches(
    given: dict[str, Any], config: dict[str, Any], policy: str
) -> None:
    assert read(given, config).on_store_error == policy


async def test_the_config_wins_for_enabled(make: Make) -> None:
    app, limiter = make({"RATELIMIT_ENABLED": False}, default_limits=["1/minute"], enabled=True)
    view(app, "/")
    view(app, "/own", limiter.limit("1/minute"))
    assert not limiter.enabled
    assert await ask(app, "/", 2) + await ask(app, "/own", 2) == [200] * 4


async def test_a_disabled_limiter_reads_nothing_else() -> None:
    app = Quart(__name__)
    app.config["RATELIMIT_STORAGE_URI"] = "fubar://"
    limiter = Limiter(app=app, default_limits=["1/fortnight"], enabled=False)
    view(app, "/")
    assert await ask(app, "/", 2) == [200, 200]
    with pytest.raises(ConfigurationError, match="init_app"):
        _ = limiter.storage


async def test_enabled_may_be_switched_while_the_app_runs(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"], headers_enabled=True)
    view(app, "/")
    view(app, "/own", limiter.limit("1/minute"))
    limiter.enabled = False
    assert await ask(app, "/", 2) + await ask(app, "/own", 2) == [200] * 4
    limiter.enabled = True
    assert await ask(app, "/", 2) + await ask(app, "/own", 2) == [200, 429, 200, 429]


async def test_a_limiter_bound_to_no_app_limits_nothing_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Quart(__name__)
    limiter = Limiter(default_limits=["1/hour"])
    view(app, "/", limiter.limit("1/hour"), name="index")
    assert not limiter.initialized
    assert await ask(app, "/", 2) == [200, 200]
    (record,) = caplog.records
    assert "index is not limited: call limiter.init_app(app)" in record.getMessage()


async def test_the_key_function_of_the_config_is_used(make: Make, clock: Clock) -> None:
    app = Quart(__name__)
    app.config["RATELIMIT_KEY_FUNC"] = lambda: request.headers["User"]
    Limiter(app=app, default_limits=["1/minute"], store=MemoryStore(now_ms=clock))
    view(app, "/")
    assert await ask(app, "/", 2, User="ann") == [200, 429]
    assert await ask(app, "/", 1, User="bob") == [200]


async def test_a_request_identifier_names_the_endpoint_in_keys(make: Make) -> None:
    async def by_version() -> str:
        return request.headers["Version"]

    app, limiter = make(default_limits=["1/minute"], request_identifier=by_version)
    view(app, "/")
    view(app, "/own", limiter.limit("2/minute"))
    assert await ask(app, "/", 2, Version="1") == [200, 429]
    assert await ask(app, "/", 1, Version="2") == [200]
    assert await ask(app, "/own", 3, Version="1") == [200, 200, 429]  # the defaults do not hold
    async with app.test_request_context("/", headers={"Version": "3"}):
        assert await limiter.identify_request() == "3"


@pytest.mark.parametrize(
    ("strategy", "quota"),
    [("moving-window", MovingWindow), ("sliding-window-counter", SlidingWindow)],
)
async def test_a_strategy_by_name_makes_its_quotas(
    make: Make, strategy: str, quota: type[Any]
) -> None:
    app, limiter = make(strategy=strategy)

    @app.get("/")
    @limiter.limit("2/minute")
    async def index() -> str:
        assert limiter.current_limit is not None
        assert type(limiter.current_limit.limit) is quota
        return ""

    assert await ask(app, "/", 3) == [200, 200, 429]


def test_the_store_is_the_one_that_the_uri_names() -> None:
    app = Quart(__name__)
    app.config["RATELIMIT_STORAGE_URI"] = "redis://localhost"
    assert isinstance(Limiter(app=app, storage_uri="memory://").store, MemoryStore)
    redis = Limiter(app=Quart(__name__), storage_uri="redis://localhost")
    assert not isinstance(redis.store, MemoryStore)


def test_a_given_redis_store_follows_the_policy(make: Make) -> None:
    store = RedisStore("redis://localhost")
    _, limiter = make(store=store)
    assert limiter.store is not store


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("strategy", "fubar", "'fubar' is not a strategy; write one of fixed-window"),
        ("storage_uri", "fubar://localhost", "'fubar://localhost' is not a store"),
        ("retry_after", "soon", "retry_after='soon' is neither"),
        ("on_store_error", "panic", "'panic' is not a policy"),
        ("default_limits_cost", -1, "cost=-1 is not a whole number"),
        ("default_limits", ["1/fortnight"], "default_limits: '1/fortnight' is not a limit"),
        ("application_limits", ["1/fortnight"], "application_limits: '1/fortnight'"),
        ("meta_limits", [MetaLimit("1/fortnight")], "meta_limits: '1/fortnight'"),
        ("in_memory_fallback", ["1/fortnight"], "in_memory_fallback: '1/fortnight'"),
    ],
)
def test_a_setting_that_can_never_work_is_named_when_the_app_is_built(
    name: str, value: Any, error: str
) -> None:
    with pytest.raises(ConfigurationError, match=error.replace("(", r"\(")):
        Limiter(app=Quart(__name__), **{name: value})


async def test_that_counts_are_in_memory_is_said_when_the_app_starts(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = make()
    assert not caplog.records
    async with app.test_app():
        assert "Each worker counts alone" in caplog.text


async def test_a_breach_is_logged_without_its_client(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    app, limiter = make()
    view(app, "/", limiter.limit("1/minute"), name="index")
    assert await ask(app, "/", 2, who="secret-client") == [200, 429]
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage() == "ratelimit 1 per 1 minute (client) exceeded at endpoint: index"


async def test_the_limiters_logger_takes_the_apps_handlers(make: Make) -> None:
    app, limiter = make()
    handler = mock.Mock(level=logging.INFO)
    limiter.logger.addHandler(handler)
    before = limiter.logger.level
    limiter.logger.setLevel(logging.INFO)
    try:
        view(app, "/", limiter.limit("1/minute"))
        await ask(app, "/", 2)
    finally:
        limiter.logger.setLevel(before)
        limiter.logger.removeHandler(handler)
    assert handler.handle.call_count == 1


# The names, arguments and defaults of Flask-Limiter 4.1.1

REQUIRED = inspect.Parameter.empty


def defaults(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


def words(text: str) -> list[str]:
    return text.split()


def test_the_package_has_every_public_name() -> None:
    names = words(
        """ApplicationLimit ExemptionScope HeaderNames Limit Limiter MetaLimit
        RateLimitExceeded RequestLimit RouteLimit"""
    )
    assert set(names) <= set(quart_ratelimit.__all__)
    assert errors.RateLimitExceeded is quart_ratelimit.RateLimitExceeded
    assert constants.ExemptionScope is ExemptionScope
    assert constants.HeaderNames is HeaderNames
    assert callable(util.get_remote_address)
    assert [flag.name for flag in ExemptionScope] == [
        "APPLICATION", "META", "DEFAULT", "DESCENDENTS", "ANCESTORS",
    ]  # fmt: skip
    assert ExemptionScope.APPLICATION.value == 1
    assert {name.value for name in HeaderNames} == {
        "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After",
    }  # fmt: skip


def test_the_constructor_has_its_keywords_and_defaults() -> None:
    names = words(
        """key_func app default_limits default_limits_per_method default_limits_exempt_when
        default_limits_deduct_when default_limits_cost application_limits
        application_limits_per_method application_limits_exempt_when
        application_limits_deduct_when application_limits_cost headers_enabled
        header_name_mapping strategy storage_uri storage_options swallow_errors
        fail_on_first_breach on_breach meta_limits on_meta_breach in_memory_fallback
        in_memory_fallback_enabled retry_after key_prefix request_identifier enabled"""
    )
    found = defaults(Limiter)
    assert list(found)[: len(names)] == names
    assert {name: found[name] for name in names} == {
        **dict.fromkeys(names), "key_prefix": "", "enabled": True,
    }  # fmt: skip


def test_limit_and_shared_limit_have_their_arguments_and_defaults() -> None:
    common = {
        "key_func": None, "per_method": False, "methods": None, "error_message": None,
        "exempt_when": None, "override_defaults": True, "deduct_when": None, "on_breach": None,
        "cost": 1, "meta_limits": None, "self": REQUIRED, "limit_value": REQUIRED,
        "name": None, "shadow": None, "on_store_error": None,  # ours
    }  # fmt: skip
    assert defaults(Limiter.limit) == {**common, "scope": None}
    assert defaults(Limiter.shared_limit) == {**common, "scope": REQUIRED}
    assert list(defaults(Limiter.shared_limit))[:3] == ["self", "limit_value", "scope"]


def test_the_rules_have_their_fields_in_order() -> None:
    def theirs(found: dict[str, Any]) -> list[str]:
        return [name for name in found if name not in ("name", "shadow", "on_store_error")]

    fields = words(
        """limit_provider key_function scope cost shared methods per_method error_message
        meta_limits exempt_when deduct_when on_breach finalized"""
    )
    assert theirs(defaults(Limit)) == fields
    assert theirs(defaults(RouteLimit)) == [*fields, "override_defaults", "limiter"]
    assert defaults(RouteLimit)["override_defaults"] is False
    without = [name for name in fields if name not in ("scope", "shared")]
    assert theirs(defaults(ApplicationLimit)) == [*without, "scope"]
    assert defaults(ApplicationLimit)["scope"] == "global"
    gone = ("scope", "shared", "meta_limits", "deduct_when", "key_function")
    metas = [name for name in fields if name not in gone]
    assert theirs(defaults(MetaLimit)) == [*metas, "key_function", "scope"]
    assert defaults(MetaLimit)["scope"] == "meta"
