"""Whatever is set: an app is built and answers, or the setting is named as it is built."""

from collections.abc import Callable
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import ConfigurationError, HeaderNames, Limiter
from quart_ratelimit.constants import ConfigVars
from quart_ratelimit.extension.binding import binding_of
from quart_ratelimit.settings.table import ENABLED, HEADER_VARIABLES, VARIABLES

from ..fuzz import configs as fuzz


def test_random_settings_build_an_app_that_answers_or_are_named(
    tell: Callable[[int, str], None],
) -> None:
    counts = fuzz.run(2_000, seed=21)
    assert set(counts) == {"built", "built on Redis", "refused", "switched off"}
    assert min(counts.values()) > 10
    tell(counts.total(), "settings")


@pytest.mark.slow
def test_a_hundred_thousand_random_settings(tell: Callable[[int, str], None]) -> None:
    tell(fuzz.run(100_000, seed=22).total(), "settings")


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("RATELIMIT_DEFAULT", "5/fortnight", "'5/fortnight' is not a limit"),
        ("RATELIMIT_DEFAULTS_COST", "1", "cost='1' is not a whole number"),
        ("RATELIMIT_STRATEGY", "fixed", "'fixed' is not a strategy; write one of fixed-window"),
        ("RATELIMIT_STRATEGY", ["gcra"], "list is not text"),
        ("RATELIMIT_STORAGE_URI", 6379, "int is not text"),
        ("RATELIMIT_STORAGE_URI", "redis", "'redis' is not a store; write 'memory://'"),
        ("RATELIMIT_STORAGE_OPTIONS", "deadline=1", "str is not a dict of names"),
        ("RATELIMIT_STORAGE_OPTIONS", {1: 2}, "dict is not a dict of names"),
        ("RATELIMIT_STORAGE_OPTIONS", {"deadline": 0}, ""),  # of no use in memory
        ("RATELIMIT_ON_BREACH_CALLBACK", "tell", "str is not a function"),
        ("RATELIMIT_DEFAULTS_DEDUCT_WHEN", lambda: True, "must be callable with one argument"),
        ("RATELIMIT_DEFAULTS_EXEMPT_WHEN", lambda who: who, "must be callable without arguments"),
        ("RATELIMIT_HEADER_FIELDS", 10, "header_fields=10: write ['x-ratelimit', 'draft-10']"),
        (
            "RATELIMIT_HEADER_LIMIT",
            "X Limit",
            "'X Limit' is not the name of a header; write 'X-Limit'",
        ),
        ("RATELIMIT_HEADERS_ENABLED", [], ""),
        ("RATELIMIT_HEADERS_ENABLED", [True], "list is neither True nor False"),
        ("RATELIMIT_KEY_SECRET", "short", "a secret of 5 bytes can be guessed"),
        ("RATELIMIT_PARTITION_SECRET", 5, "int is neither text nor bytes"),
        ("RATELIMIT_STRATEGY", "", ""),
        ("RATELIMIT_DEFAULTS_EXEMPT_WHEN", "", ""),
        ("RATELIMIT_STORAGE_OPTIONS", None, ""),
    ],
)
def test_a_variable_is_named_with_what_is_wrong_with_it(
    variable: str, value: Any, shown: str
) -> None:
    app = Quart(__name__)
    app.config[variable] = value
    if not shown:  # as if it were not there
        assert binding_of(Limiter(app=app), app)
        return
    with pytest.raises(ConfigurationError) as raised:
        Limiter(app=app)
    assert str(raised.value).startswith(variable)
    assert shown in str(raised.value)


def test_the_variables_of_a_store_are_named() -> None:
    app = Quart(__name__)
    app.config["RATELIMIT_STORAGE_URI"] = "redis://localhost:6379/0"
    app.config["RATELIMIT_STORAGE_OPTIONS"] = {"deadline": 0}
    named = "^RATELIMIT_STORAGE_URI, RATELIMIT_STORAGE_OPTIONS: deadline=0 must be above 0"
    with pytest.raises(ConfigurationError, match=named):
        Limiter(app=app)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("on_store_error", "ignore", "'ignore' is not a policy"),
        ("limit_unmatched", "no", "='no' is text"),
        ("header_name_mapping", {"limit": "X-Limit"}, "write {HeaderNames.LIMIT: 'X-Limit'}"),
        ("header_name_mapping", {HeaderNames.LIMIT: "a\r\nb: c"}, "is not the name of a header"),
        ("storage_options", {"deadline": "1"}, "deadline='1' must be above 0 seconds"),
        ("storage_options", {"deadline": float("inf")}, "deadline=inf must be above 0 seconds"),
        ("storage_options", {"max_connections": 0}, "max_connections=0 is not a whole number"),
        ("storage_options", {"prefix": None}, "prefix=None is not text"),
        ("storage_options", {"self": 1}, "'self' is not an option of a store"),
    ],
)
def test_so_is_an_argument(name: str, value: Any, shown: str) -> None:
    keywords: dict[str, Any] = {"storage_uri": "redis://localhost:6379/0", name: value}
    with pytest.raises(ConfigurationError) as raised:
        Limiter(app=Quart(__name__), **keywords)
    assert name in str(raised.value)
    assert shown in str(raised.value)


@pytest.mark.parametrize("policy", ["ajar", "", 5, ["open"]])
@pytest.mark.parametrize("beside", [{}, {"in_memory_fallback": ["1/day"]}])
def test_an_unknown_policy_is_an_error_whatever_else_is_set(
    policy: Any, beside: dict[str, Any]
) -> None:
    if policy == "":  # as if it were not given
        Limiter(app=Quart(__name__), on_store_error=policy, **beside)
        return
    with pytest.raises(ConfigurationError, match=r"^on_store_error: "):
        Limiter(app=Quart(__name__), on_store_error=policy, **beside)


@pytest.mark.parametrize("policy", ["local", "open", "closed"])
@pytest.mark.parametrize("by", ["in_memory_fallback", "RATELIMIT_IN_MEMORY_FALLBACK"])
def test_a_policy_that_the_fallback_would_replace_is_an_error(policy: str, by: str) -> None:
    app = Quart(__name__)
    given: dict[str, Any] = {}
    (given if by.islower() else app.config)[by] = ["1/day"]
    with pytest.raises(ConfigurationError, match=rf"on_store_error='{policy}' contradicts {by}"):
        Limiter(app=app, on_store_error=policy, **given)
    Limiter(app=app, on_store_error="raise", **given)


UNKNOWN = {
    "RATELIMIT_STORAGE_URL": "did you mean RATELIMIT_STORAGE_URI?",
    "RATELIMIT_DEFAULTS": "did you mean RATELIMIT_DEFAULT?",
    "RATELIMIT_DEFAULT_LIMITS": "did you mean RATELIMIT_DEFAULT?",
    "RATELIMIT_ON_BREACH": "did you mean RATELIMIT_ON_BREACH_CALLBACK?",
    "RATELIMIT_META_LIMITS": "did you mean RATELIMIT_META?",
    "RATELIMIT_ON_STORE_ERROR": r"write Limiter\(on_store_error=...\)",
    "RATELIMIT_XYZ": "its variables are listed in docs/reference/settings.md",
    "ratelimit_default": "did you mean RATELIMIT_DEFAULT?",
    "RATELIMIT_Storage_Url": "did you mean RATELIMIT_STORAGE_URI?",
    "RATELIMIT__DEFAULT": "did you mean RATELIMIT_DEFAULT?",
    "RATELIMIT_ENABLE": "did you mean RATELIMIT_ENABLED?",
    "QUART_RATELIMIT_DEFAULT": "did you mean RATELIMIT_DEFAULT?",
    "QUART_RATELIMIT_STORAGE_URL": "did you mean RATELIMIT_STORAGE_URI?",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_variable_that_does_not_exist_is_an_error_with_the_one_that_was_meant(name: str) -> None:
    app = Quart(__name__)
    app.config[name] = None  # its value does not matter
    with pytest.raises(ConfigurationError, match=rf"^{name} is not a variable.*{UNKNOWN[name]}"):
        Limiter(app=app)


def test_variables_of_others_are_none_of_ours() -> None:
    app = Quart(__name__)
    app.config.update(RATELIMITS=1, QUART_RATE_LIMITER_ENABLED=True, MY_RATELIMIT_DEFAULT="x")
    Limiter(app=app)


def test_every_variable_of_flask_limiter_has_its_setting() -> None:
    names = {value for name, value in vars(ConfigVars).items() if name.isupper()}
    assert names == {*VARIABLES.values(), *HEADER_VARIABLES.values(), ENABLED.variable}
