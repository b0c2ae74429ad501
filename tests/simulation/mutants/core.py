"""Seeded faults of what is held, known and given back. The first have been in the package."""

from __future__ import annotations

from .mutant import mutant

MUTANTS = [
    mutant(
        "case in_flight_reset",
        "a client that resets its connection leaves its place taken for good",
        (
            "current.py",
            "            for release in call.end():\n                await release\n",
            "            pass\n",
        ),
        (
            "direct/in_flight.py",
            "_renew(ledger, hit, weakref.ref(self))",
            "_renew(ledger, hit, lambda: self)",
        ),
    ),
    mutant(
        "case a2_keys",
        "names of any length are kept in caches",
        (
            "clients/keys.py",
            "return _short_part(part) if len(part) <= LONGEST_PART else _digest(_raw(part))",
            "return _short_part(part)",
        ),
    ),
    mutant(
        "case c_second_outage",
        "a second outage counts on from what the first one left",
        ("stores/standin.py", "if base is not None and word is None:", "if base is not None:"),
        model="outage",
    ),
    mutant(
        "case d_reset_recall",
        "a reset leaves what the worker knew for the next outage",
        (
            "stores/knowledge.py",
            "            self._words.pop(name)\n            self.stand_in.forget(hit)\n",
            "",
        ),
        model="outage",
    ),
    mutant(
        "case e2_reset_race",
        "a refusal that was under way is remembered after a reset",
        (
            "stores/knowledge.py",
            "if sent != self.generation and self._is_outdated(hits, sent):",
            "if False:",
        ),
        model="refund",
    ),
    mutant(
        "case f_refund_aligned",
        "a refund by one limit takes what others charged on the same counter",
        (
            "quotas/fixed_window.py",
            "used = max(0, used + cost)",
            "used = max(0, min(used, self.amount) + cost)",
        ),
    ),
    mutant(
        "unseen error",
        "what goes on without its caller leaves an error that nobody retrieves",
        (
            "stores/tasks.py",
            "    task.add_done_callback(_retrieve)\n",
            "",
        ),
        model="place",
    ),
    mutant(
        "release is tried once",
        "a place that cannot be given back while Redis is away is forgotten",
        (
            "direct/ledger.py",
            "        if await self._confirmed(back):\n            await self._flush()\n"
            "            return\n",
            "        await self._confirmed(back)\n        return\n",
        ),
        model="place",
    ),
    mutant(
        "kept releases are not flushed",
        "the first success after an outage gives nothing back",
        (
            "direct/ledger.py",
            'if self._kept and decisions[0].by == "store":',
            "if False:",
        ),
        (
            "direct/ledger.py",
            "            await self._flush()\n            return\n",
            "            return\n",
        ),
        model="place",
    ),
    mutant(
        "release before the take",
        "a cancelled take is given back before it is carried out",
        (
            "direct/ledger.py",
            "        await asyncio.wait([charging])\n",
            "        await asyncio.sleep(0)\n",
        ),
        (
            "direct/ledger.py",
            "elif not failed and all",
            "elif charging.done() and not failed and all",
        ),
        (
            "direct/ledger.py",
            "failed = charging.cancelled() or charging.exception() is not None",
            "failed = charging.cancelled() or not charging.done() or charging.exception() is not None",
        ),
        model="place",
    ),
    mutant(
        "cancelled take",
        "a client that leaves while its place is taken keeps it",
        (
            "direct/in_flight.py",
            "(decision,) = await ledger.take([hit])",
            "(decision,) = await ledger.charge([hit])",
        ),
        model="place",
    ),
    mutant(
        "refusals are refunded",
        "a refund of a refused decision gives a unit",
        (
            "direct/ledger.py",
            "if one.allowed and one.by == by]",
            "if one.by == by]",
        ),
        (
            "extension/direct_limits.py",
            "if not told.allowed or not hits[0].cost:",
            "if not hits[0].cost:",
        ),
    ),
    mutant(
        "local charges are refunded in Redis",
        "what was counted here during an outage is given back there",
        (
            "direct/ledger.py",
            '((self._store, "store"), (self._local, "local"))',
            '((self._store, "store"), (self._store, "local"))',
        ),
    ),
    mutant(
        "settled twice",
        "a reservation is settled at its end and again",
        (
            "direct/reservation.py",
            "            self.decisions = await settling\n",
            "            await settling\n"
            "            self.decisions = await self._account.ledger.settle(corrections, self.decisions)\n",
        ),
    ),
    mutant(
        "refusal outlives its wait",
        "a refusal is repeated for a second, though the wait was shorter",
        (
            "stores/refusals.py",
            "Refusal(now_ms, now_ms + min(longest_ms, wait), now_ms + wait,",
            "Refusal(now_ms, now_ms + longest_ms, now_ms + longest_ms,",
        ),
    ),
    mutant(
        "cheaper hits are refused",
        "a costly hit that was refused refuses a cheaper one",
        ("stores/refusals.py", "    return cost == least or (\n", "    return cost > 0 or (\n"),
    ),
    mutant(
        "closed admits",
        "the policy closed admits what it cannot count",
        (
            "stores/guard.py",
            "return Decision(False, 0, 0, max(1000",
            "return Decision(True, 0, 0, max(1000",
        ),
    ),
    mutant(
        "fresh budget in each outage",
        "an outage begins with the whole amount, whatever Redis said",
        (
            "stores/standin.py",
            "self._memory.adopt(part.own, part.resumed(word), word.at_ms)",
            "pass",
        ),
        model="outage",
    ),
    mutant(
        "no shares",
        "each worker admits the whole amount in an outage",
        (
            "stores/standin.py",
            "return quota if workers == 1 else quota.share(workers, place)",
            "return quota",
        ),
        model="outage",
    ),
    mutant(
        "charged twice",
        "a late charge whose reply was lost is sent again",
        (
            "stores/payer.py",
            "if isinstance(error, StoreError) and not error.was_sent:",
            "if isinstance(error, StoreError):",
        ),
        model="outage",
    ),
    mutant(
        "back to before the outage",
        "a charge that is not sent forgets what the store said before it",
        ("stores/standin.py", "if owed.newest is None:", "if True:"),
        model="outage",
    ),
    mutant(
        "places never renewed weakly",
        "the renewal task ends with no place",
        (
            "direct/in_flight.py",
            "        self._renewing.cancel()\n        return self._release()\n",
            "        return self._release()\n",
        ),
    ),
]
