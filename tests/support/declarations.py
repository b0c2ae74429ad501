"""Random declarations of an app: its limits, its views, what they call, and its requests."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from quart_ratelimit import ExemptionScope

#: What a request of a declared app may say in its query, beside what its view calls.
WORDS = ("exempt", "none", "fails", "rejected", "filtered", "denied")

#: What a blueprint may be exempt from.
FLAGS = (
    ExemptionScope.DEFAULT,
    ExemptionScope.APPLICATION,
    ExemptionScope.DEFAULT | ExemptionScope.APPLICATION | ExemptionScope.META,
    ExemptionScope.DEFAULT | ExemptionScope.DESCENDENTS,
    ExemptionScope.DEFAULT | ExemptionScope.ANCESTORS,
)


@dataclass(frozen=True)
class Rule:
    """One declared limit. Its period is a number that no other limit has: hits tell it by that."""

    period: int
    amount: int
    methods: tuple[str, ...] = ()
    override: bool = False
    shared: bool = False
    per_method: bool = False
    exempt: bool = False
    dynamic: bool = False
    by_user: bool = False
    costs: bool = False
    deducts: bool = False
    shadow: bool = False
    meta: Rule | None = None

    @property
    def text(self) -> str:
        return f"{self.amount} per {self.period} second"


@dataclass(frozen=True)
class Step:
    """One decorator of a view, or one call in its body."""

    kind: Literal["limit", "rate_limit", "in_flight", "wraps", "login", "exempt", "helper", "block"]
    rule: Rule | None = None
    #: Whether the helper is a sync function.
    is_sync: bool = False


@dataclass(frozen=True)
class View:
    """A route: its decorators, outermost first, and what it calls in requests that say so."""

    path: str
    blueprint: int | None
    is_class: bool
    is_sync: bool
    decorators: tuple[Step, ...]
    calls: tuple[Step, ...]
    #: A class-based view's limits by HTTP method.
    of_methods: dict[str, tuple[Rule, ...]]


@dataclass(frozen=True, eq=False)
class Blueprint:
    """A blueprint, inside an earlier one or in the app."""

    parent: int | None
    rules: tuple[Rule, ...]
    flags: ExemptionScope


@dataclass(frozen=True)
class Request:
    """One request: ``words`` are what it says, ``calls`` the numbers of what its view calls."""

    view: int | None
    method: str
    who: str
    user: str
    cost: int
    words: frozenset[str]
    calls: frozenset[int]

    @property
    def query(self) -> str:
        said = [f"{word}=1" for word in sorted(self.words)]
        return "&".join([f"cost={self.cost}", *said, *(f"call{n}=1" for n in sorted(self.calls))])

    @property
    def counted_method(self) -> str:
        """A HEAD request runs the view of GET, and counts as one."""
        return "GET" if self.method == "HEAD" else self.method


@dataclass
class Declaration:
    """An app, and requests to it, by seed. ``refusing``: some amounts are small."""

    seed: int
    refusing: bool = True
    defaults: tuple[Rule, ...] = ()
    application: tuple[Rule, ...] = ()
    metas: tuple[Rule, ...] = ()
    blueprints: list[Blueprint] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    unmatched: bool = False

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._period = 86_400
        self.unmatched = self.perhaps(0.3)
        self.defaults = self.rules(0.7, 2, general=True)
        application = self.rules(0.4, 1, general=True)
        self.application = tuple(replace(rule, shared=True) for rule in application)
        self.metas = tuple(self.meta() for _ in range(self.perhaps(0.2)))
        for number in range(self.random.randrange(4)):
            parent = self.random.randrange(number) if number and self.perhaps(0.6) else None
            flags = self.random.choice(FLAGS) if self.perhaps(0.3) else ExemptionScope.NONE
            self.blueprints.append(Blueprint(parent, self.rules(0.6, 2), flags))
        self.views = [self.view(number) for number in range(self.random.randint(1, 4))]
        self.requests = [self.request() for _ in range(self.random.randint(15, 40))]

    def perhaps(self, chance: float) -> bool:
        return self.random.random() < chance

    def rules(self, chance: float, most: int, *, general: bool = False) -> tuple[Rule, ...]:
        count = self.random.randint(1, most) if self.perhaps(chance) else 0
        return tuple(self.rule(general=general) for _ in range(count))

    def amount(self) -> int:
        return self.random.choice([1, 2, 3, 5, 1000]) if self.refusing else 1000

    def rule(self, *, general: bool = False) -> Rule:
        """A limit with random options; a general one is of the app, and replaces nothing."""
        self._period += 1
        options: dict[str, Any] = {
            name: self.perhaps(chance)
            for name, chance in {
                "per_method": 0.2, "exempt": 0.2, "by_user": 0.2, "costs": 0.2, "deducts": 0.2,
                "shadow": 0.1, "dynamic": 0.2,
            }.items()
        }  # fmt: skip
        period, amount = self._period, self.amount()
        if not general:
            options["override"] = self.perhaps(0.6)
            options["shared"] = self.perhaps(0.2)
            options["meta"] = self.meta() if self.perhaps(0.15) else None
            if self.perhaps(0.25):
                options["methods"] = self.random.choice([("GET",), ("POST",), ("GET", "DELETE")])
        return Rule(period, amount, **options)

    def meta(self) -> Rule:
        self._period += 1
        return Rule(self._period, self.random.choice([1, 2, 5]))

    def decorators(self, *, is_sync: bool) -> tuple[Step, ...]:
        kinds = ["limit", "limit", "rate_limit", "in_flight", "wraps", "login", "exempt"]
        weights = [5, 5, 1, 1, 4, 4, 1]
        chosen = self.random.choices(kinds, weights, k=self.random.randrange(5))
        if any(chosen.count(kind) > 1 for kind in ("rate_limit", "in_flight", "exempt")):
            chosen = [kind for kind in chosen if kind in ("limit", "wraps", "login")]
        steps = [self.step(kind, is_sync=is_sync) for kind in chosen]
        own = [number for number, step in enumerate(steps) if step.kind in ("wraps", "login")]
        innermost_async = max((number for number in own if not steps[number].is_sync), default=0)
        return tuple(  # what stands above an async decorator is async
            replace(step, is_sync=step.is_sync and number > innermost_async)
            for number, step in enumerate(steps)
        )

    def step(self, kind: Any, *, is_sync: bool) -> Step:
        has_rule = kind in ("limit", "helper", "block")
        rule = self.rule() if has_rule else None
        if kind == "rate_limit":
            self._period += 1
            rule = Rule(self._period, self.amount())
        return Step(kind, rule, is_sync=is_sync and self.perhaps(0.7))

    def view(self, number: int) -> View:
        is_class = self.perhaps(0.3)
        is_sync = self.perhaps(0.4)
        kinds = ["helper"] if is_sync else ["helper", "block"]
        calls = [
            self.step(self.random.choice(kinds), is_sync=True)
            for _ in range(self.random.randrange(3))
        ]
        if is_sync:  # in its thread it can call nothing else
            calls = [Step(call.kind, call.rule, is_sync=True) for call in calls]
        of_methods = {method: self.rules(0.6, 2) if is_class else () for method in ("GET", "POST")}
        decorators = () if is_class and self.perhaps(0.6) else self.decorators(is_sync=is_sync)
        if is_class:  # Quart's function around a class is async
            decorators = tuple(step for step in decorators if step.kind != "exempt")
            decorators = tuple(Step(s.kind, s.rule) for s in decorators)
        place = self.random.choice([None, *range(len(self.blueprints))])
        path = f"/view{number}"
        return View(path, place, is_class, is_sync, decorators, tuple(calls), of_methods)

    def request(self) -> Request:
        view = None if self.perhaps(0.05) else self.random.randrange(len(self.views))
        words = {word for word in WORDS[:4] if self.perhaps(0.2)}
        words |= {word for word in WORDS[4:] if self.perhaps(0.04)}
        return Request(
            view,
            self.random.choice(["GET", "GET", "GET", "POST", "POST", "HEAD", "OPTIONS"]),
            self.random.choice(["ann", "bob"]),
            self.random.choice(["x", "y"]),
            self.random.choice([1, 1, 2]),
            frozenset(words),
            frozenset(number for number in range(3) if self.perhaps(0.5)),
        )

    def path_of(self, view: View) -> list[Blueprint]:
        """The blueprints of a view, outermost first."""
        path: list[Blueprint] = []
        place = view.blueprint
        while place is not None:
            path.insert(0, self.blueprints[place])
            place = self.blueprints[place].parent
        return path

    def url(self, request: Request) -> str:
        if request.view is None:
            return f"/nowhere?{request.query}"
        view = self.views[request.view]
        numbers = [self.blueprints.index(each) for each in self.path_of(view)]
        return "".join(f"/blue{n}" for n in numbers) + f"{view.path}?{request.query}"
