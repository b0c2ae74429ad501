"""Random lives of two keys on a real Redis, beside a model: the same algorithms in Python."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from quart_ratelimit import Hit, Quota
from quart_ratelimit.quotas import GCRA, FixedWindow, MovingWindow, SlidingWindow, StrictWindow
from quart_ratelimit.stores.redis import script

from ..support.lua_twin import LuaStore, PythonStore

#: Each algorithm under two limits: a limit is changed by using the other one.
LIMITS: list[Quota] = [
    make(amount, 10)
    for make in (FixedWindow, SlidingWindow, StrictWindow, MovingWindow, GCRA)
    for amount in (3, 5)
]

limits, clients = st.sampled_from(LIMITS), st.sampled_from(["ann", "bob"])


def machine(url: str) -> type[RuleBasedStateMachine]:
    class Lives(RuleBasedStateMachine):
        @initialize()
        def start(self) -> None:
            self.now = 1_800_000_000_000
            self.redis, self.model = LuaStore(url, script.script()), PythonStore()
            self.charged: list[tuple[Hit, int]] = []

        @rule(limit=limits, client=clients, cost=st.integers(0, 6), forced=st.booleans())
        def hit(self, limit: Quota, client: str, cost: int, forced: bool) -> None:
            self._both([Hit(limit, client, cost, forced=forced and cost < 3)])

        @rule(both=st.lists(limits, min_size=2, max_size=3), client=clients)
        def hit_together(self, both: list[Quota], client: str) -> None:
            self._both([Hit(limit, client) for limit in both])

        @rule(ms=st.one_of(st.integers(0, 300), st.integers(0, 25_000)))
        def wait(self, ms: int) -> None:
            self.now += ms

        @rule(data=st.data())
        def give_back(self, data: st.DataObject) -> None:
            if self.charged:
                hit, at = data.draw(st.sampled_from(self.charged))
                self._both([hit._replace(cost=-max(1, hit.cost), at_ms=at, forced=False)])

        @rule(limit=limits, client=clients)
        def reset(self, limit: Quota, client: str) -> None:
            self.redis.forget(f"twin:{limit.state_key(client, self.now)}")
            self.model.forget(Hit(limit, client))

        @rule()
        def lose_expiries(self) -> None:
            self.redis.lose_expiries()

        @invariant()
        def answers_agree(self) -> None:
            if hasattr(self, "redis"):
                self._both([Hit(LIMITS[0], "ann", 0)])

        def _both(self, hits: list[Hit]) -> None:
            ours = self.model.decide_all([hits], self.now)
            assert self.redis.decide([hits], self.now) == ours
            if all(ours[0]):
                self.charged += [(hit, self.now) for hit in hits if hit.cost > 0]

        def teardown(self) -> None:
            if hasattr(self, "redis"):
                self.redis.close()

    return Lives


def test_redis_and_the_model_live_alike(redis_url: str) -> None:
    run_state_machine_as_test(
        machine(redis_url),
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
