"""Limits on blueprints and exemptions, and how both pass down nested ones."""

import pytest
from quart import Blueprint

from quart_ratelimit import ExemptionScope

from ..support.apps import Clock, Make, ask, view

DEFAULT, APPLICATION = ExemptionScope.DEFAULT, ExemptionScope.APPLICATION
DESCENDENTS, ANCESTORS = ExemptionScope.DESCENDENTS, ExemptionScope.ANCESTORS


def blueprint(name: str, **options: str) -> Blueprint:
    made = Blueprint(name, __name__, url_prefix=f"/{name}", **options)
    view(made, "/", name=f"of_{name}")
    return made


async def test_views_of_a_blueprint_fall_under_the_defaults_or_their_own_limits(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"])
    main = blueprint("main")
    view(main, "/own", limiter.limit("3 per minute"))
    app.register_blueprint(main)
    assert await ask(app, "/main/", 2) == [200, 429]
    assert await ask(app, "/main/own", 4) == [200, 200, 200, 429]


async def test_static_files_are_not_limited(make: Make) -> None:
    app, _ = make(default_limits=["1/minute"], application_limits=["1/minute"])
    app.register_blueprint(blueprint("main", static_folder="../support/static"))
    assert await ask(app, "/static/here.txt", 3) == [200, 200, 200]
    assert await ask(app, "/main/static/here.txt", 3) == [200, 200, 200]


async def test_a_blueprints_limit_replaces_the_defaults_and_counts_by_endpoint(
    make: Make, clock: Clock
) -> None:
    app, limiter = make(default_limits=["1/minute"])
    main = blueprint("main")
    view(main, "/other")
    view(main, "/own", limiter.limit("4 per minute"))
    view(main, "/more", limiter.limit("3 per hour", override_defaults=False))
    assert limiter.limit("2/minute")(main) is None
    app.register_blueprint(main)
    view(app, "/")
    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/main/", 3) == [200, 200, 429]
    assert await ask(app, "/main/other", 3) == [200, 200, 429]
    assert await ask(app, "/main/own", 5) == [200, 200, 200, 200, 429]
    assert await ask(app, "/main/more", 3) == [200, 200, 429]
    clock.forward(60)
    assert await ask(app, "/main/more", 2) == [200, 429]  # its three an hour are used


async def test_a_blueprint_may_be_limited_or_exempted_after_it_is_registered(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"])
    limited, exempt, dynamic = (blueprint(name) for name in ("limited", "exempt", "dynamic"))
    for one in (limited, exempt, dynamic):
        app.register_blueprint(one)
    limiter.limit("2/minute")(limited)
    assert limiter.exempt(exempt) is exempt
    limiter.limit(lambda: "3/minute")(dynamic)
    assert await ask(app, "/limited/", 3) == [200, 200, 429]
    assert await ask(app, "/exempt/", 3) == [200, 200, 200]
    assert await ask(app, "/dynamic/", 4) == [200, 200, 200, 429]


async def test_a_blueprint_may_count_all_its_views_together(make: Make) -> None:
    app, limiter = make()
    main = blueprint("main")
    view(main, "/other")
    limiter.shared_limit("2/minute", scope="main")(main)
    app.register_blueprint(main)
    assert await ask(app, "/main/", 1) == [200]
    assert await ask(app, "/main/other", 2) == [200, 429]


async def test_a_dotted_endpoint_is_no_blueprint(make: Make) -> None:
    app, limiter = make(default_limits=["2/day"])
    teapot = blueprint("teapot")
    app.register_blueprint(teapot)
    limiter.limit("1/day")(teapot)
    view(app, "/iam", endpoint="_teapot.iam")
    assert await ask(app, "/iam", 3) == [200, 200, 429]
    assert await ask(app, "/teapot/", 2) == [200, 429]


async def test_a_limit_on_a_blueprint_keeps_its_meta_limits(make: Make, clock: Clock) -> None:
    app, limiter = make()
    main = blueprint("main")
    limiter.limit("1/second", meta_limits=["1/day"])(main)
    app.register_blueprint(main)
    assert await ask(app, "/main/", 2) == [200, 429]
    clock.forward(1)
    assert await ask(app, "/main/", 1) == [429]


@pytest.mark.parametrize(
    ("parents", "childs", "parent_is_free", "child_is_free"),
    [
        (None, None, False, False),
        ("usual", "usual", True, True),
        ("usual", None, True, False),  # as in Flask-Limiter: a child is exempt by flag alone
        (DEFAULT | DESCENDENTS, None, True, True),
        (None, "usual", False, True),
    ],
)
async def test_an_exemption_passes_down_by_its_flag(
    make: Make, parents: object, childs: object, parent_is_free: bool, child_is_free: bool
) -> None:
    app, limiter = make(default_limits=["1/minute"])
    parent, child = blueprint("parent"), blueprint("child")
    for one, flags in ((parent, parents), (child, childs)):
        if flags == "usual":
            limiter.exempt(one)
        elif isinstance(flags, ExemptionScope):
            limiter.exempt(one, flags=flags)
    parent.register_blueprint(child)
    app.register_blueprint(parent)
    app.register_blueprint(child)  # the same blueprint in two places
    second = {True: 200, False: 429}
    assert await ask(app, "/parent/", 2) == [200, second[parent_is_free]]
    assert await ask(app, "/parent/child/", 2) == [200, second[child_is_free]]
    assert await ask(app, "/child/", 2) == [200, second[childs == "usual"]]


async def test_a_childs_limit_replaces_the_defaults_for_it_alone(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"])
    parent, child = blueprint("parent"), blueprint("child")
    limiter.limit("2/minute")(child)
    parent.register_blueprint(child)
    app.register_blueprint(parent)
    assert await ask(app, "/parent/", 2) == [200, 429]
    assert await ask(app, "/parent/child/", 3) == [200, 200, 429]


async def test_override_defaults_decides_whether_outer_blueprints_limits_hold(
    make: Make, clock: Clock
) -> None:
    app, limiter = make(default_limits=["1/minute"])
    parent, child, grandchild = (blueprint(name) for name in ("parent", "child", "grandchild"))
    limiter.limit("4/hour")(parent)
    limiter.limit("2/minute")(child)
    limiter.limit("3/day", override_defaults=False)(grandchild)
    child.register_blueprint(grandchild)
    parent.register_blueprint(child)
    app.register_blueprint(parent)
    assert await ask(app, "/parent/", 5) == [200] * 4 + [429]
    assert await ask(app, "/parent/child/", 3) == [200, 200, 429]
    clock.forward(60)
    assert await ask(app, "/parent/child/", 3) == [200, 200, 429]  # 4/hour does not hold
    leaf = "/parent/child/grandchild/"
    assert await ask(app, leaf, 3) == [200, 200, 429]  # 2/minute does
    clock.forward(60)
    assert await ask(app, leaf, 2) == [200, 429]  # its own 3/day is used


async def test_exemptions_and_limits_of_a_deep_tree(make: Make, clock: Clock) -> None:
    app, limiter = make(default_limits=["1/minute"], application_limits=["8/day"])
    view(app, "/")
    a, a1, a11, a12 = (blueprint(name) for name in ("a", "a1", "a11", "a12"))
    b, b1, b11 = (blueprint(name) for name in ("b", "b1", "b11"))
    limiter.exempt(a, flags=DEFAULT | APPLICATION | DESCENDENTS)
    limiter.limit("2/minute")(a1)
    limiter.exempt(a11, flags=ANCESTORS)
    limiter.limit("3/minute")(a12)
    limiter.limit("2/minute")(b)
    limiter.exempt(b1, flags=DEFAULT | APPLICATION)
    limiter.limit("3/minute")(b1)
    limiter.exempt(b11, flags=ANCESTORS)
    for outer, inner in ((a1, a11), (a1, a12), (a, a1), (b1, b11), (b, b1)):
        outer.register_blueprint(inner)
    app.register_blueprint(a)
    app.register_blueprint(b)
    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/a/", 3) == [200, 200, 200]
    assert await ask(app, "/a/a1/", 3) == [200, 200, 429]
    assert await ask(app, "/a/a1/a11/", 4) == [200] * 4  # of no limit of those around it
    assert await ask(app, "/a/a1/a12/", 4) == [200] * 3 + [429]
    assert await ask(app, "/b/", 3) == [200, 200, 429]
    assert await ask(app, "/b/b1/", 4) == [200] * 3 + [429]
    assert await ask(app, "/b/b1/b11/", 2) == [200, 429]  # by the default
    for _ in range(4):  # 4 of the application's 8 are used: "/", "/b/" twice, "/b/b1/b11/"
        clock.forward(60)
        assert await ask(app, "/b/b1/b11/", 1) == [200]
    clock.forward(60)
    assert await ask(app, "/b/b1/b11/", 1) == [429]  # by the application's limit
    assert await ask(app, "/", 1) == [429]
    assert await ask(app, "/a/", 1) == [200]
    assert await ask(app, "/a/a1/a11/", 1) == [200]


async def test_an_exempt_view_is_free_of_what_its_flags_say(make: Make) -> None:
    app, limiter = make(default_limits=["1/minute"], application_limits=["2/minute"])
    view(app, "/")
    view(app, "/free", limiter.exempt)
    view(app, "/defaults", limiter.exempt(flags=APPLICATION))
    view(app, "/application", limiter.exempt(flags=DEFAULT))
    assert await ask(app, "/", 2) == [200, 429]
    assert await ask(app, "/free", 3) == [200, 200, 200]
    assert await ask(app, "/defaults", 2) == [200, 429]
    assert await ask(app, "/application", 2) == [200, 429]
    assert await ask(app, "/free", 1) == [200]


async def test_an_exempt_view_is_free_of_its_own_limits_too(make: Make) -> None:
    app, limiter = make()
    view(app, "/above", limiter.exempt, limiter.limit("1/minute"))
    view(app, "/below", limiter.limit("1/minute"), limiter.exempt)
    assert await ask(app, "/above", 3) == [200, 200, 200]
    assert await ask(app, "/below", 3) == [200, 200, 200]


@pytest.mark.parametrize("flags", [DEFAULT, APPLICATION, DEFAULT | APPLICATION, ANCESTORS])
@pytest.mark.parametrize("above", [False, True])
async def test_a_view_that_is_exempt_from_some_kinds_keeps_its_own_limits(
    make: Make, flags: ExemptionScope, above: bool
) -> None:
    app, limiter = make(default_limits=["9/minute"], application_limits=["9/hour"])
    decorators = [limiter.exempt(flags=flags), limiter.limit("1/minute")]
    view(app, "/", *(decorators if above else reversed(decorators)))
    assert await ask(app, "/", 2) == [200, 429]
