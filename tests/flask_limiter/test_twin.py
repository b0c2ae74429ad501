"""Random apps on Flask with Flask-Limiter and on Quart with ours answer alike, field by field.

Both count in memory by one clock. What differs by design (docs/howto/migrating.md) is left out: an
app is compared until its first refusal, as a refused request charges other limits there, unless
each of its requests has one limit of cost 1; helpers, which charge a blueprint's limits again
there; OPTIONS requests to views with limits of their own, which the defaults count here; HEAD
requests in apps that tell methods apart; limits that replace others for some methods
only; and exemptions from some kinds of limits for views with limits of their own.
`test_migration_rows` shows these rows one by one.
"""

import random
import time
from typing import Any

import flask_limiter
import pytest

import quart_ratelimit
from quart_ratelimit.stores import MemoryStore

from ..support.twins import OURS, THEIRS, Sort

START = 1_800_000_000.123
FIELDS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After")
UNITS = ("second", "minute", "hour")
EXEMPTIONS = (
    "DEFAULT", "APPLICATION", "DEFAULT|APPLICATION", "DEFAULT|APPLICATION|META",
    "ANCESTORS|DEFAULT", "DESCENDENTS|DEFAULT",
)  # fmt: skip


class Draw:
    """One app and what it is asked, drawn at random, and no framework's."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.limits = 0
        #: Each request has one limit at most, of cost 1.
        self.simple = self.perhaps(0.3)
        #: HEAD is asked for, and no limit tells methods apart.
        self.heads = self.perhaps(0.4)
        self.defaults = self.texts(0.6, "day")
        self.application = self.texts(0.25, "month")
        self.per_method = self.perhaps(0.2) and not self.heads
        self.blueprints = [  # whose limits theirs takes out of a set: of equal ones in any order
            (
                adding([self.limit(UNITS[number])]) if self.perhaps(0.6) else [],
                self.exemption(0.6),
                self.parent(number),
            )
            for number in range(0 if self.simple else self.random.randrange(3))
        ]
        self.routes = [self.route() for _ in range(self.random.randint(1, 4))]
        self.requests = [self.request() for _ in range(self.random.randint(10, 40))]

    def perhaps(self, chance: float) -> bool:
        return self.random.random() < chance

    def texts(self, chance: float, unit: str) -> list[str]:
        text = f"{self.random.randint(2, 9)}/{unit}"
        return [text] if self.perhaps(chance) and not self.simple else []

    def exemption(self, chance: float) -> str | None:
        return self.random.choice(EXEMPTIONS) if self.perhaps(chance) else None

    def parent(self, number: int) -> int | None:
        return number - 1 if number and self.perhaps(0.5) else None

    def route(self) -> tuple[int | None, list[dict[str, Any]], str | None]:
        """A view's blueprint, limits and exemption."""
        place = self.random.choice([None, *range(len(self.blueprints))])
        limits = [self.limit() for _ in range(1 if self.simple else self.random.choice([0, 1, 2]))]
        if place is not None or len(limits) > 1:
            limits = adding(limits)
        exemption = None if self.simple else self.exemption(0.3)
        if limits and exemption:  # theirs then has no limits of its own, whatever the flags
            exemption = "DEFAULT|APPLICATION|META"
        return place, limits, exemption

    def limit(self, unit: str = "") -> dict[str, Any]:
        self.limits += 1  # no two of a view have one counter: they would charge it twice
        unit = unit or self.random.choice(UNITS)
        drawn: dict[str, Any] = {"amount": 2 + self.limits % 8, "unit": unit}
        for option, chance in (
            ("methods", 0.2), ("per_method", 0.2), ("exempt_when", 0.2), ("key_func", 0.15),
            ("error_message", 0.2), ("on_breach", 0.15), ("dynamic", 0.2), ("shared", 0.2),
            ("override_defaults", 0.3), ("cost", 0.2), ("deduct_when", 0.2),
        ):  # fmt: skip
            drawn[option] = self.perhaps(chance)
        if self.heads:
            drawn["methods"] = drawn["per_method"] = False
        if self.simple:
            drawn["cost"] = drawn["deduct_when"] = False
        return drawn

    def request(self) -> dict[str, Any]:
        route = self.random.randrange(len(self.routes))
        methods = ["GET", "GET", "GET", "POST", "DELETE", *["HEAD"] * 2 * self.heads]
        if not self.routes[route][1]:
            methods.append("OPTIONS")
        return {
            "route": route,
            "method": self.random.choice(methods),
            "who": self.random.choice(["ann", "bob"]),
            "user": self.random.choice(["x", "y"]),
            "query": f"fails={self.random.choice('001')}&exempt={self.random.choice('0001')}"
            f"&cost={self.random.choice('12')}"
            f"&more={self.random.choice('008')}",
            "seconds": self.random.choice([0, 0, 0, 0.3, 1, 7, 61]),
        }


def adding(limits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """These limits; what limits some methods replaces no others."""
    for limit in limits:
        limit["override_defaults"] = limit["override_defaults"] or limit["methods"]
    return limits


class Twin:
    """The app that was drawn, on one framework."""

    def __init__(self, sort: Sort, draw: Draw) -> None:
        self.sort = sort
        self.asked = sort.framework.request
        self.app = sort.App("twin")
        store: dict[str, Any] = {"storage_uri": "memory://"}
        if sort.is_ours:
            now_ms = lambda: int(time.time() * 1000)  # noqa: E731
            store = {"store": MemoryStore(now_ms=now_ms), "doctor": False}
        self.limiter = sort.limiter.Limiter(
            lambda: self.asked.headers["X-Who"],
            app=self.app,
            default_limits=draw.defaults,
            default_limits_per_method=draw.per_method,
            application_limits=draw.application,
            headers_enabled=True,
            **store,
        )
        blueprints = [self._blueprint(number, *one) for number, one in enumerate(draw.blueprints)]
        self.paths = []
        for number, (place, limits, exemption) in enumerate(draw.routes):
            view = self._view(number, limits, exemption)
            target, path = (self.app if place is None else blueprints[place]), f"/view{number}"
            target.add_url_rule(path, f"view{number}", view, methods=["GET", "POST"])
            self.paths.append(self._prefix(draw, place) + path)
        for number in reversed(range(len(blueprints))):
            blueprint, parent = blueprints[number], draw.blueprints[number][2]
            (self.app if parent is None else blueprints[parent]).register_blueprint(blueprint)
        self.client = self.app.test_client()

    @staticmethod
    def _prefix(draw: Draw, place: int | None) -> str:
        path = ""
        while place is not None:
            path, place = f"/blue{place}{path}", draw.blueprints[place][2]
        return path

    def _blueprint(
        self, number: int, limits: list[Any], exemption: str | None, _: int | None
    ) -> Any:
        blueprint = self.sort.framework.Blueprint(f"blue{number}", "x", url_prefix=f"/blue{number}")
        for limit in limits:
            self._limit(limit)(blueprint)
        if exemption:
            self.limiter.exempt(blueprint, flags=self._flags(exemption))
        return blueprint

    def _view(self, number: int, limits: list[Any], exemption: str | None) -> Any:
        def answer() -> Any:
            return ("bad", 400) if self.asked.args["fails"] == "1" else "ok"

        async def answer_later() -> Any:
            return answer()

        view: Any = answer_later if self.sort.is_ours else answer
        view.__name__ = view.__qualname__ = f"view{number}"
        for limit in limits:
            view = self._limit(limit)(view)
        return self.limiter.exempt(view, flags=self._flags(exemption)) if exemption else view

    def _limit(self, drawn: dict[str, Any]) -> Any:
        def respond(told: Any) -> Any:
            return self.sort.framework.make_response(f"breached {told.limit.amount}", 429)

        options = {
            "methods": ["GET"],
            "per_method": True,
            "exempt_when": lambda: self.asked.args["exempt"] == "1",
            "key_func": lambda: self.asked.headers["X-User"],
            "error_message": "slow",
            "on_breach": respond,
            "override_defaults": False,
            "cost": lambda: int(self.asked.args["cost"]),
            "deduct_when": lambda response: response.status_code != 400,
        }
        chosen = {name: value for name, value in options.items() if drawn[name]}
        amount, unit = drawn["amount"], drawn["unit"]
        text: Any = f"{amount}/{unit}"
        if drawn["dynamic"]:
            text = lambda: f"{amount + int(self.asked.args['more'])}/{unit}"  # noqa: E731
        if drawn["shared"]:
            return self.limiter.shared_limit(text, scope="together", **chosen)
        return self.limiter.limit(text, **chosen)

    def _flags(self, names: str) -> Any:
        scope = flask_limiter.ExemptionScope
        scope = quart_ratelimit.ExemptionScope if self.sort.is_ours else scope
        flags = scope.NONE
        for name in names.split("|"):
            flags |= scope[name]
        return flags

    async def ask(self, request: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
        """The status, the fields and the body."""
        answer: Any = self.client.open(
            f"{self.paths[request['route']]}?{request['query']}",
            method=request["method"],
            headers={"X-Who": request["who"], "X-User": request["user"]},
        )
        if self.sort.is_ours:
            answer = await answer
            body = await answer.get_data(as_text=True)
        else:
            body = answer.get_data(as_text=True)
        fields = {name: answer.headers.get(name) for name in FIELDS}
        if answer.status_code == 405 or request["method"] == "HEAD":
            body = ""  # the frameworks' own
        return answer.status_code, fields, body


def alike(theirs: Any, ours: Any, draw: Draw) -> bool:
    """Whether both answers are one, but for what differs by design."""
    if theirs[0] != ours[0] or theirs[2] != ours[2]:
        return False
    told, own = dict(theirs[1]), dict(ours[1])
    wait, own_wait = told.pop("Retry-After"), own.pop("Retry-After")
    if draw.application:  # of several stages theirs tells of the last, ours of the tightest
        return True
    if theirs[0] == 429:
        # Theirs charges a dear hit that it refuses past the amount.
        return draw.simple is False or told == own
    late = int(own_wait or 0) - int(wait or 0)  # ours is rounded up
    return told == own and late in (0, 1)


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [START]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


async def compare(seed: int, now: list[float]) -> int:
    """How many answers were compared."""
    draw = Draw(seed)
    now[0] = START
    theirs, ours = Twin(THEIRS, draw), Twin(OURS, draw)
    for number, request in enumerate(draw.requests, 1):
        now[0] += request["seconds"]
        told, own = await theirs.ask(request), await ours.ask(request)
        assert alike(told, own, draw), f"seed {seed}, {request}: theirs {told}, ours {own}"
        if told[0] == 429 and not draw.simple:
            return number
    return len(draw.requests)


@pytest.mark.parametrize("first", range(0, 200, 20))
async def test_random_apps_answer_as_with_flask_limiter(turn: list[float], first: int) -> None:
    compared = [await compare(seed, turn) for seed in range(first, first + 20)]
    assert sum(compared) > 100


@pytest.mark.slow
async def test_thousands_of_random_apps_answer_as_with_flask_limiter(turn: list[float]) -> None:
    compared = [await compare(seed, turn) for seed in range(1_000, 3_000)]
    assert sum(compared) > 10_000
