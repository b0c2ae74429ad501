"""Which limits a declaration puts on a request, read from it without any code of the package.

The counters are numbers by rule, client and endpoint. Nothing is known of stages, stores or keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from quart_ratelimit import ExemptionScope

from .declarations import Declaration, Request, Rule, View

Where = tuple[object, ...]


@dataclass
class Told:
    """What has been charged for one request, and what replaced what."""

    endpoint: str
    charged: list[tuple[Rule, Where, int]] = field(default_factory=list)
    defaults: list[tuple[Rule, Where, int]] = field(default_factory=list)
    blueprints_done: bool = False
    defaults_done: bool = False
    overridden: bool = False
    has_metas: bool = False


class Refused(Exception):
    """A limit refuses."""


class Reading:
    """Reads one declaration; `ask` says what a request must come to."""

    def __init__(self, declaration: Declaration) -> None:
        self.declared = declaration
        self.counts: Counter[Where] = Counter()

    def ask(self, request: Request) -> tuple[int, Counter[int]]:
        """The status, and the sum of what is charged by period."""
        if "denied" in request.words:
            return 403, Counter()
        before = self.counts.copy()
        view = None if request.view is None else self.declared.views[request.view]
        told = Told("" if view is None else view.path)
        try:
            if "filtered" not in request.words:
                self._limit(request, view, told)
            status = self._status(request, view)
        except Refused:
            status = 429
        for rule, where, cost in told.charged:
            if rule.deducts and status != 200:
                self.counts[where] -= cost
        after: Counter[int] = Counter()
        for where, count in self.counts.items():
            after[where[0]] += count - before[where]  # type: ignore[index]
        return status, Counter({period: count for period, count in after.items() if count})

    @staticmethod
    def _status(request: Request, view: View | None) -> int:
        if view is None:
            return 404
        if request.method == "OPTIONS":
            return 200
        if "rejected" in request.words and any(step.kind == "login" for step in view.decorators):
            return 401
        return 400 if "fails" in request.words else 200

    def _limit(self, request: Request, view: View | None, told: Told) -> None:
        if view is None:
            if self.declared.unmatched:
                told.has_metas = True
                rules = [*self.declared.application, *self.declared.defaults]
                self._charge(request, told, rules, [])
            return
        exempt = self._exemption(view)
        told.has_metas = not exempt & ExemptionScope.META
        own = self._own(view, request)
        rules = []
        if not exempt & ExemptionScope.APPLICATION:
            rules += self.declared.application
        defaults: Sequence[Rule] = ()
        if not own:
            rules += (blues := self._of_blueprints(request, view, told))
            defaults = self._defaults(request, view, told, blues, exempt)
        self._charge(request, told, rules, defaults)
        for called, is_limited in self._calls(request, view):
            if not is_limited:  # ``@rate_limit`` stands beside all others
                self._charge(request, told, called, [])
                continue
            own = False
            rules = [rule for rule in called if self._is_there(rule, request)]
            replaces = any(self._replaces(rule, request) for rule in rules)
            if not replaces:
                rules += self._of_blueprints(request, view, told)
                replaces = any(self._replaces(rule, request) for rule in rules)
            defaults = self._defaults(request, view, told, rules, exempt)
            told.overridden = told.overridden or replaces
            self._charge(request, told, rules, defaults)
        if own:  # the request ended before them: what they would have replaced applies
            rules = self._of_blueprints(request, view, told)
            defaults = self._defaults(request, view, told, rules, exempt)
            self._charge(request, told, rules, defaults)

    def _charge(
        self, request: Request, told: Told, rules: Sequence[Rule], defaults: Sequence[Rule]
    ) -> None:
        """Charge all of these or none; what replaces the defaults gives those back."""
        there = [rule for rule in (*rules, *defaults) if self._is_there(rule, request)]
        rules = [rule for rule in rules if self._applies(rule, request)]
        defaults = [rule for rule in defaults if self._applies(rule, request)]
        replaced: list[tuple[Rule, Where, int]] = []
        if any(rule.override and not rule.shadow for rule in rules):
            replaced, told.defaults = told.defaults, []
            told.charged = [charge for charge in told.charged if charge not in replaced]
        try:
            # Who is blocked is blocked at the whole view, whatever its limits except.
            blocks = self._metas(request, told, there)
            if any(self.counts[where] >= meta.amount for meta, where in blocks):
                raise Refused
            self._charge_all(request, told, rules, defaults)
        finally:
            for _, where, cost in replaced:
                self.counts[where] -= cost

    def _charge_all(
        self, request: Request, told: Told, rules: Sequence[Rule], defaults: Sequence[Rule]
    ) -> None:
        everything = sorted([*rules, *defaults], key=lambda rule: rule.period)
        charges = [(rule, self._where(rule, request, told)) for rule in everything]
        cost = lambda rule: request.cost if rule.costs else 1  # noqa: E731
        over = [
            (rule, where)
            for rule, where in charges
            if not rule.shadow and self.counts[where] + cost(rule) > rule.amount
        ]
        if over:
            for _, where in self._metas(request, told, [over[0][0]]):
                self.counts[where] += 1
            raise Refused
        for rule, where in charges:
            if self.counts[where] + cost(rule) <= rule.amount:
                self.counts[where] += cost(rule)
                told.charged.append((rule, where, cost(rule)))
                if rule in defaults:
                    told.defaults.append(told.charged[-1])

    def _metas(
        self, request: Request, told: Told, rules: Sequence[Rule]
    ) -> list[tuple[Rule, Where]]:
        """The limits on breaches of these limits, and those on any breach.

        Each is one count per client, at whichever view its limit is breached.
        """
        if not told.has_metas:
            return []
        found: list[tuple[Rule, Where]] = []
        for rule in rules:
            if rule.meta is not None and not rule.shadow:
                who = self._where(rule, request, told)[1]
                found.append((rule.meta, (rule.meta.period, who)))
        return [*found, *((meta, (meta.period, request.who)) for meta in self.declared.metas)]

    @staticmethod
    def _where(rule: Rule, request: Request, told: Told) -> Where:
        who = request.user if rule.by_user else request.who
        place = "" if rule.shared else told.endpoint
        return (rule.period, who, place, request.counted_method if rule.per_method else "")

    @staticmethod
    def _is_there(rule: Rule, request: Request) -> bool:
        """A function that says "no limit" leaves what stands around it."""
        return not (rule.dynamic and "none" in request.words)

    @staticmethod
    def _covers(rule: Rule, request: Request) -> bool:
        return not rule.methods or request.counted_method in rule.methods

    def _replaces(self, rule: Rule, request: Request) -> bool:
        return rule.override and not rule.shadow and self._covers(rule, request)

    def _applies(self, rule: Rule, request: Request) -> bool:
        if rule.exempt and "exempt" in request.words:
            return False
        return self._is_there(rule, request) and self._covers(rule, request)

    def _exemption(self, view: View) -> ExemptionScope:
        path = self.declared.path_of(view)
        found = ExemptionScope.NONE
        for blueprint in path:
            if blueprint is path[-1]:
                found |= blueprint.flags & ~ExemptionScope.ANCESTORS
            elif blueprint.flags & ExemptionScope.DESCENDENTS:
                found |= blueprint.flags
        if any(step.kind == "exempt" for step in view.decorators):
            found |= ExemptionScope.DEFAULT | ExemptionScope.APPLICATION | ExemptionScope.META
        return found

    def _of_blueprints(self, request: Request, view: View, told: Told) -> list[Rule]:
        """The limits of the view's blueprints, once in a request."""
        path = self.declared.path_of(view)
        if told.blueprints_done or told.overridden:
            return []
        told.blueprints_done = True
        if not path or path[-1].flags & (ExemptionScope.META | ExemptionScope.DESCENDENTS):
            return []
        last = [rule for rule in path[-1].rules if self._is_there(rule, request)]
        covering = [rule for rule in last if self._covers(rule, request)]
        replaces = bool(covering) and all(rule.override and not rule.shadow for rule in covering)
        if replaces or path[-1].flags & ExemptionScope.ANCESTORS:
            return last
        outer = [
            rule
            for blueprint in path[:-1]
            if not blueprint.flags & ExemptionScope.DESCENDENTS
            for rule in blueprint.rules
        ]
        return [rule for rule in outer if self._is_there(rule, request)] + last

    def _defaults(
        self,
        request: Request,
        view: View,
        told: Told,
        rules: Sequence[Rule],
        exempt: ExemptionScope,
    ) -> Sequence[Rule]:
        """The defaults, once in a request, unless a limit replaces them."""
        if told.defaults_done or told.overridden or exempt & ExemptionScope.DEFAULT:
            return ()
        if any(self._replaces(rule, request) for rule in rules):
            told.overridden = True
            return ()
        told.defaults_done = bool(self.declared.defaults)
        return self.declared.defaults

    @staticmethod
    def _own(view: View, request: Request) -> bool:
        """Whether the view has limits of its own for this method."""
        has = any(step.kind == "limit" for step in view.decorators)
        return has or bool(view.of_methods.get(request.counted_method))

    @staticmethod
    def _calls(request: Request, view: View) -> Iterator[tuple[list[Rule], bool]]:
        """What is charged while the view runs, in order; whether it is a limit of the limiter's."""
        if request.method == "OPTIONS":
            return
        is_exempt = any(step.kind == "exempt" for step in view.decorators)
        # ``exempt`` leaves the function as it is, so limits around it stand one upon the other.
        steps = [step for step in view.decorators if step.kind != "exempt"]
        for kind, together in groupby(steps, key=lambda step: step.kind):
            rules = [step.rule for step in together if step.rule is not None]
            if kind == "limit":  # such limits are charged together, where they stand
                yield [] if is_exempt else rules, True
            elif kind == "rate_limit":
                yield rules, False
            elif kind == "login" and "rejected" in request.words:
                return
        if view.is_class and (rules := view.of_methods.get(request.counted_method)):
            yield list(rules), True
        for number, step in enumerate(view.calls):
            if number in request.calls and step.rule is not None:
                yield [step.rule], True
