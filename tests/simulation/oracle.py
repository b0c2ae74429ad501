"""Sees every event of a run from outside the package, and says what must not have been.

What a worker decides while Redis is away is judged at once, by what Redis last told that worker.
The rest is judged at the end, in `checks`.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quart_ratelimit import Decision, Hit
from quart_ratelimit.quotas import Concurrency

from .bounds import admitted_by_a_worker_alone, surely_admitted_alone
from .plan import LONG, Action, Plan
from .records import Call, Charged, Counted, Forgotten, Loss, Records
from .world import World

if TYPE_CHECKING:
    from .redis_server import SimulatedRedis
    from .worker import Worker


@dataclass
class Word:
    """What a worker may know of one counter and key."""

    used: int | None = None
    #: The most that it was told since the last reset: a word that says less replaces no other
    #: while another limit of the same counter has nothing left.
    most: int = 0
    at: float = 0.0
    #: From when on the worker may not know yet that Redis' clock was set.
    clock_of: float = 0.0
    #: When the worker first decided alone since then, and how many units it admitted.
    alone_since: float | None = None
    alone: int = 0
    #: The same, with what was given back after it may have been charged: that stays charged.
    spent: int = 0
    #: Units that it admitted alone, that Redis was not sent and has not been charged since.
    owed: int = 0
    #: Those of them that it had admitted before Redis' last word.
    carried: int = 0
    #: When it was last invalidated: answers to calls that began before are not learned.
    invalidated: float = -1.0
    #: Refusals that may be repeated: when each was asked for, until when it holds, its cost.
    refusals: list[tuple[float, float, int]] = field(default_factory=list)


class Oracle:
    """Collects what happens, and violations of what was promised."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        self.records = Records()
        self.violations: list[str] = []
        self.words: dict[tuple[str, str, str], Word] = {}
        self._holders: dict[int, int] = {}
        #: When each key was last charged late, whichever worker owed it.
        self._charged_late: dict[str, float] = {}
        #: Leases by the worker that took them.
        self.leases: dict[str, str] = {}
        self.statuses: dict[int, int | None] = {}
        #: The hits whose reply was lost last: what is decided of them at once may count in Redis.
        self._sent: Sequence[Hit] | None = None
        #: When Redis last decided for each worker, which then charges what it owes; and when the
        #: worker had called for that.
        self._told_at: dict[str, float] = {}
        self._told_began: dict[str, float] = {}

    def blame(self, what: str, error: BaseException | None = None) -> None:
        """Note a violation."""
        if error is not None:
            last = traceback.extract_tb(error.__traceback__)[-1:]
            what += "".join(f" at {frame.filename}:{frame.lineno}" for frame in last)
        self.world.tell("oracle", f"VIOLATION: {what}")
        self.violations.append(what)

    # Servers.

    def executed(self, server: SimulatedRedis, parts: list[bytes]) -> None:
        """A server has carried out a command."""
        now, commands = self.world.now, server.commands
        for charge in commands.charges:
            self.records.charged.append(Charged(now, commands.now_ms, charge))
            self.world.note(f"{charge.key}{charge.hit.cost}{charge.decision[:4]};")
        for key, by, total in commands.counts:
            self.records.counted.append(Counted(now, commands.now_ms, key, by, total))
            self.world.note(f"{key}{by}{total};")
        if parts[0].upper() == b"UNLINK":
            for key in parts[1:]:
                self.records.forgotten.append(
                    Forgotten(now, key.decode("utf-8", "surrogateescape"))
                )

    def lost(self, what: str, *, ahead_ms: int = 0) -> None:
        """A server lost data, or its clock was set."""
        self.records.losses.append(Loss(self.world.now, what, ahead_ms))

    # Workers.

    def called(self, worker: Worker, hits: Sequence[Hit]) -> Call:
        """A worker calls its guarded store."""
        call = Call(worker.name, hits, self.world.now, worker.loop.stalled)
        call.deadline = _deadline(worker)
        for hit in hits:
            if hit.lease:
                self.leases[hit.lease] = worker.name
        self.records.calls.append(call)
        return call

    def answered(self, worker: Worker, call: Call, decisions: list[Decision]) -> None:
        """The guarded store has decided."""
        self._end(worker, call)
        call.decisions = decisions
        self.world.note(f"{worker.name}{decisions[0].by}{decisions[0].allowed};")
        by = decisions[0].by
        if (by == "closed" and any(decisions)) or (by == "open" and not all(decisions)):
            self.blame(f"the policy {by} of {worker.name} decided otherwise")
        if by == "local" and len(decisions) == 1 and not decisions[0].allowed:
            self._refused_alone(call, call.hits[0])
        elif by == "local" and all(decisions):  # else none was charged
            for hit, decision in zip(call.hits, decisions, strict=True):
                self._alone(call, hit, decision)
        elif by == "memory":
            self._repeated(call)
        if any(hit.cost < 0 for hit in call.hits):
            self.invalidated(worker, call.hits)

    def told(
        self, worker: Worker, began: float, hits: Sequence[Hit], decisions: Sequence[Decision]
    ) -> None:
        """Redis has decided for a worker, which called for a client or charges what it owes."""
        self._told_at[worker.name] = self.world.now
        self._told_began[worker.name] = began
        self._charged_late.update({hit.key: self.world.now for hit in hits if hit.late})
        words = [self._word(worker.name, hit) for hit in hits]
        if any(began < word.invalidated for word in words):
            return
        for hit, decision, word in zip(hits, decisions, words, strict=True):
            if hit.late:
                word.owed = max(0, word.owed - hit.cost)
            word.carried = word.owed
            word.clock_of = began
            word.used = hit.quota.capacity - decision.remaining
            word.most = max(word.most, word.used)
            word.at, word.alone, word.spent, word.alone_since = self.world.now, 0, 0, None
            if not all(decisions) and not decision.allowed:
                until = self.world.now + (decision.retry_ms or 0) / 1000
                word.refusals.append((began, until, hit.cost or 1))

    def untold(self, worker: Worker, hits: Sequence[Hit], *, was_sent: bool) -> None:
        """Redis did not decide for a worker, or its reply was lost."""
        self._sent = hits if was_sent else None
        for hit in hits:
            if hit.late and was_sent:
                self._charged_late[hit.key] = self.world.now
                word = self._word(worker.name, hit)
                word.owed = max(0, word.owed - hit.cost)

    def failed(self, worker: Worker, call: Call, error: BaseException) -> None:
        """The guarded store has raised, or its caller has left."""
        self._end(worker, call)
        call.error = type(error)
        if any(hit.cost < 0 for hit in call.hits):
            self.invalidated(worker, call.hits)

    def gave_back_alone(self, worker: Worker, hits: Sequence[Hit]) -> None:
        """The worker gives back what it admitted itself."""
        for hit in hits:
            if hit.cost < 0:
                word = self._word(worker.name, hit)
                word.alone = max(0, word.alone + hit.cost)
                since = word.alone_since
                if since is not None and self._told_at.get(worker.name, 0.0) < since:
                    word.spent = max(0, word.spent + hit.cost)
                    word.owed = max(0, word.owed + hit.cost)

    def invalidated(self, worker: Worker, hits: Sequence[Hit], *, forget: bool = False) -> None:
        """What the worker knew of these counters does not hold any more."""
        for hit in hits:
            word = self._word(worker.name, hit)
            word.invalidated = self.world.now
            if forget:
                self._forget(word)

    @staticmethod
    def _forget(word: Word) -> None:
        word.used, word.most, word.alone, word.alone_since = None, 0, 0, None
        word.spent = word.owed = word.carried = 0

    def cleared(self, worker: Worker) -> None:
        """The worker has forgotten everything."""
        for (name, _, _), word in self.words.items():
            if name == worker.name:
                word.invalidated = self.world.now
                self._forget(word)

    @contextmanager
    def holding(self, worker: Worker, name: str, amount: int) -> Iterator[None]:
        """A client holds a place of a name."""
        known = hash(name)  # a long name must be kept by nobody after the run
        self._holders[known] = held = self._holders.get(known, 0) + 1
        last = next(
            call
            for call in reversed(self.records.calls)
            if call.worker == worker.name and call.hits[0].lease and call.hits[0].cost > 0
        )
        if held > amount and last.by == "store" and not self._excuses_places():
            self.blame(f"{held} of {amount} places of {name!r} are held")
        try:
            yield
        finally:
            self._holders[known] -= 1

    def _excuses_places(self) -> bool:
        """Whether more places than the amount may be held: some were given without Redis."""
        alone = any(call.by in ("local", "open") for call in self.records.calls)
        return bool(self.records.losses) or alone or bool(self.records.forgotten)

    def waited_as_told(
        self, worker: Worker, action: Action, refusal: Decision, retried: Decision, since: float
    ) -> bool:
        """A client was refused at a time, waited for as long as it was told, and came again.

        Returns whether it must wait again, as the second refusal says: the first was the hit that
        finds Redis back, and a late charge of what was admitted without Redis came after it.
        """
        if retried.allowed or retried.by != "store" or self.records.losses:
            return False
        own = f"{{{action.key}}}"
        if any(at >= since and own in key for key, at in self._charged_late.items()):
            return True
        self.blame(
            f"action {action.number} at {worker.name} was refused by {refusal.by} for "
            f"{refusal.retry_ms} ms, waited, and was refused again for {retried.retry_ms} ms"
        )
        return False

    def responded(self, worker: Worker, action: Action, view: str, status: int | None) -> None:
        """A request was answered."""
        self.statuses[action.number] = status
        expected = {None, 200, 401, 429, 500, 503}
        if status == 500 and action.how != "raise" and worker.plan.policy != "raise":
            self.blame(f"action {action.number}: /{view} answered with 500")
        if status not in expected:
            self.blame(f"action {action.number}: /{view} answered with {status}")

    # What a worker may know.

    def _end(self, worker: Worker, call: Call) -> None:
        call.ended, call.stalled_at_end = self.world.now, worker.loop.stalled
        call.deadline = max(call.deadline, _deadline(worker))

    def _word(self, worker: str, hit: Hit) -> Word:
        return self.words.setdefault((worker, hit.quota.counter, hit.key), Word())

    def _alone(self, call: Call, hit: Hit, decision: Decision) -> None:
        if isinstance(hit.quota, Concurrency):
            return
        word = self._word(call.worker, hit)
        if hit.cost <= 0 or not decision.allowed:
            return
        if word.alone_since is None:
            word.alone_since = self.world.now
            if word.used is None:
                word.clock_of = self._told_began.get(call.worker, 0.0)
        word.alone += hit.cost
        word.spent += hit.cost
        if call.hits is not self._sent:
            word.owed += hit.cost
        if hit.forced:
            return
        since = word.at if word.used is not None else word.alone_since
        # The worker goes by Redis' clock: what comes back when that is set forward comes back here.
        ahead_ms = sum(
            max(0, loss.ahead_ms) for loss in self.records.losses if loss.at >= word.clock_of
        )
        allowed = admitted_by_a_worker_alone(
            hit.quota,
            word.used,
            self.world.now - since + ahead_ms / 1000,
            len(self.plan.workers),
        )
        if word.alone > allowed:
            self.blame(
                f"{call.worker} alone admitted {word.alone} units of {hit.quota} to {hit.key!r}, "
                f"of which Redis last said {word.used} were used: {allowed:g} at most"
            )

    def _refused_alone(self, call: Call, hit: Hit) -> None:
        """A worker refuses without Redis only for what it was told, or has admitted itself."""
        word = self._word(call.worker, hit)
        least = surely_admitted_alone(hit.quota, word.most, len(self.plan.workers))
        # A hit that overlaps a reset may be known to the worker; the model of an outage tries that.
        if isinstance(hit.quota, Concurrency) or any(a.kind == "reset" for a in self.plan.actions):
            return
        admitted = word.spent + word.carried
        if admitted + max(1, hit.cost) <= least:
            self.blame(
                f"{call.worker} alone refused {hit.cost} units of {hit.quota} to {hit.key!r}, of "
                f"which it knows {word.most} to be used and has admitted {admitted}"
            )

    def check_memory(self, workers: Iterable[Worker]) -> None:
        """No table of a worker holds a client's long name any more than it may."""
        for worker in workers:
            known = worker.site.guard._known
            for table in (known._words, known._refusals):
                longest = max(map(len, [*table._young, *table._old]), default=0)
                if longest >= LONG:
                    self.blame(f"{worker.name} remembers a name of {longest:,} characters")

    def _repeated(self, call: Call) -> None:
        """A refusal came from memory: Redis must have given it, and nothing undone it."""
        for hit in call.hits:
            word, now = self._word(call.worker, hit), self.world.now
            for began, until, cost in word.refusals:
                if began >= word.invalidated and now <= until and cost <= (hit.cost or 1):
                    return
        self.blame(
            f"{call.worker} repeats a refusal of {call.hits[0].key!r} that Redis did not give, or "
            "that was undone"
        )


def _deadline(worker: Any) -> float:
    link = worker.site.link
    return float(link.deadline) if link is not None else 0.05
