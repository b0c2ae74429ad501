"""A rule in one request: each of its quotas, with all that the rule says of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..callables import UserFunction
from ..quotas import Quota
from .limits import ApplicationLimit, Limit, MetaLimit


@dataclass(frozen=True, slots=True)
class RuntimeLimit:
    """One quota of a rule, with all that the rule says of it; `RateLimitExceeded.limit`."""

    limit: Quota
    key_func: UserFunction[object]
    scope: object = None
    per_method: bool = False
    methods: tuple[str, ...] | None = None
    error_message: str | UserFunction[str] | None = None
    exempt_when: UserFunction[bool] | None = None
    override_defaults: bool = False
    deduct_when: UserFunction[bool] | None = None
    on_breach: UserFunction[object] | None = None
    cost: int | UserFunction[int] = 1
    shared: bool = False
    meta_limits: tuple[RuntimeLimit, ...] = ()
    #: Whether it refuses nothing; a function is called in each request.
    shadow: bool | UserFunction[bool] = False
    #: Where the block stands in the code that it limits; "": it limits no block.
    place: str = ""
    #: What decides it while the store is away; "": as the limiter says.
    on_store_error: str = ""
    #: The rule that it is a quota of.
    rule: Limit | None = field(default=None, compare=False, repr=False)
    #: What logs and signals call its scope; "": what its key does.
    told_as: str = ""

    def __hash__(self) -> int:
        """Return the same for equal limits; functions may be objects without a hash."""
        return hash((self.limit, self.shared, self.per_method, self.methods))

    def exempts(self, method: str) -> bool:
        """Whether requests with this HTTP method are not limited."""
        if self.methods is None:
            return False
        return method.lower() not in self.methods and not self._is_get(method)

    @property
    def scope_kind(self) -> str:
        """What distinguishes `full_scope` from an equal text of another kind; "" for a view's."""
        rule, kind = self.rule, ""
        if isinstance(rule, MetaLimit):
            kind = "meta"
        elif isinstance(rule, ApplicationLimit):
            kind = "app"
        elif self.shared or (rule is not None and rule.shared):
            kind = "shared"
        if self.place:
            kind = f"{kind}-of-block" if kind else "block"
        elif kind and not self.shared:  # its scope is empty, or it is a penalty of the rule
            kind += "-of-view"
        elif kind == "meta" and rule is not None and self.scope != rule.scope:
            kind = "meta-of-shared"
        if not self.per_method:
            return kind
        return f"{kind}/method" if kind else "method"

    def full_scope(self, scope: object, identity: str, method: str) -> str:
        """What is counted together, given what the rule's own ``scope`` comes to.

        In the name of an endpoint ":" is written as "%3A": it ends where the scope begins. A block
        has the name of its function instead.
        """
        own = "" if scope is None else str(scope)
        full = own
        if not self.shared:
            if self.place:
                identity = self.place.partition(":")[0].rpartition(".")[2]
            full = identity.replace("%", "%25").replace(":", "%3A")
            full += f":{own}" if own else ""
        if not self.per_method:
            return full
        return f"{full}:{'GET' if self._is_get(method) else method.upper()}"

    def _is_get(self, method: str) -> bool:
        """Whether the method counts as GET: HEAD runs the same view."""
        return method.upper() == "HEAD" and (self.methods is None or "get" in self.methods)
