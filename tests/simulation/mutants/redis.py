"""Seeded faults of batches, connections, scripts and clocks."""

from __future__ import annotations

from .mutant import mutant

BATCHER, LINK, WIRE = (f"stores/redis/{name}.py" for name in ("batcher", "link", "wire"))
CONNECTIONS, COUNTERS, SCRIPT = (
    f"stores/redis/{name}.py" for name in ("connections", "counters", "script")
)
CLOCK, BREAKER = "stores/redis/server_clock.py", "stores/breaker.py"

MUTANTS = [
    mutant(
        "case h_connect",
        "connecting is thrown away with the deadline of the hit that waits for it",
        (CONNECTIONS, "BUDGET = 2.0", "BUDGET = 0.05"),
    ),
    mutant(
        "case i_breaker",
        "failures are counted per caller and not per exchange",
        (BREAKER, "        if turn != self.turn:\n            return\n", ""),
    ),
    mutant(
        "case j_clock",
        "the server's clock is taken from the time of receiving",
        (
            CLOCK,
            "latest, took_ms = server_ms - sent_ms,",
            "latest, took_ms = server_ms - received_ms,",
        ),
    ),
    mutant(
        "case n_poison",
        "a key of a wrong type fails its whole batch",
        (
            SCRIPT,
            "        if hits == 1 and not errors:\n",
            "        if errors:\n            raise errors[0]\n        if hits == 1 and not errors:\n",
        ),
    ),
    mutant(
        "reset while idle",
        "a connection that was reset while idle is taken for fresh",
        (
            WIRE,
            "    if isinstance(writer, asyncio.StreamWriter) and writer.is_closing():\n        return False\n    try:",
            "    try:",
        ),
    ),
    mutant(
        "refund in the next window",
        "a hit that was late is refunded from the next window",
        (
            SCRIPT,
            "if all(at_ms // period == now_ms // period for period in self._by_clock):",
            "if True:",
        ),
        (
            "quotas/fixed_window.py",
            "if end - self.period_ms <= hit.at_ms < end:",
            "if hit.at_ms >= end - self.period_ms:",
        ),
    ),
    mutant(
        "sent twice",
        "what a lost connection may have carried out is sent again",
        (
            LINK,
            "            replies, sent_ms, received_ms = await exchange\n",
            "            try:\n                replies, sent_ms, received_ms = await exchange\n"
            "            except Exception:\n"
            "                again = self.connections.exchange(batch.packed, batch.replies)\n"
            "                replies, sent_ms, received_ms = await again\n",
        ),
    ),
    mutant(
        "no expiry",
        "a counter gets no expiry",
        (COUNTERS, rb"$%d\r\n%b\r\n$2\r\nNX\r\n".decode(), rb"$%d\r\n%b\r\n$2\r\nXX\r\n".decode()),
    ),
    mutant(
        "answers in reverse",
        "the answers of a batch go to other callers",
        (
            BATCHER,
            "zip(callers, answers, strict=True)",
            "zip(callers, reversed(answers), strict=True)",
        ),
        model="batch",
    ),
    mutant(
        "split at the wrong end",
        "a batch that is split parts its callers from their hits",
        (
            BATCHER,
            "first.callers, self.callers = self.callers[:count], self.callers[count:]",
            "first.callers, self.callers = self.callers[-count:], self.callers[:-count]",
        ),
        model="batch",
    ),
    mutant(
        "who left is sent",
        "hits of callers who left are counted, and their answers given to others",
        (BATCHER, "        self.items = [item for item, _ in stay]\n", ""),
        model="batch",
    ),
    mutant(
        "thrice the deadline",
        "a hit waits for three deadlines",
        (
            BATCHER,
            "if self._ticks - batch.born > TICKS:",
            "if self._ticks - batch.born > 3 * TICKS:",
        ),
        model="batch",
    ),
    mutant(
        "endless ticks",
        "the timer of a batch goes on when there is none",
        (
            BATCHER,
            "        if self._sent or self._waiting:\n            loop = asyncio",
            "        if True:\n            loop = asyncio",
        ),
        model="batch",
    ),
    mutant(
        "forgotten script",
        "a script that Redis has forgotten is not sent again",
        (SCRIPT, "return isinstance(reply, NoScriptError)", "return False"),
    ),
    mutant(
        "refunded hits count when refused",
        "hits that may be given back go to the counter that counts refusals",
        (
            "quotas/fixed_window.py",
            "not (hit.forced or hit.refundable or hit.late)",
            "not (hit.forced or hit.late)",
        ),
    ),
    mutant(
        "looks count",
        "a look raises the counter",
        (COUNTERS, "self.keys if cost else", "self.keys if cost >= 0 else"),
    ),
    mutant(
        "ranks of others",
        "hits that share an increment get a later hit's rank",
        (COUNTERS, "first = _whole(total) - len(callers) + 1", "first = _whole(total)"),
    ),
    mutant(
        "windows by the worker's clock",
        "each worker counts in the window of its own clock",
        (CLOCK, "return self._now_ms() + self._offset_ms", "return wall_ms()"),
        (CLOCK, "import Clock, monotonic_ms", "import Clock, monotonic_ms, wall_ms"),
    ),
    mutant(
        "breaker stays open",
        "a success does not close the breaker",
        (
            BREAKER,
            "        self.failures = 0\n        self._hangs = False\n        self._pause_ms",
            "        self._pause_ms",
        ),
    ),
    mutant(
        "long pauses",
        "probes of a store that is away are minutes apart",
        (BREAKER, "longest_ms: int = 1000", "longest_ms: int = 300_000"),
        (BREAKER, "self._pause_ms * 2", "self._pause_ms * 100"),
    ),
    mutant(
        "reset forgets too early",
        "a hit that is decided during a reset leaves what it learned",
        (
            "stores/guard.py",
            "        try:\n            return await self._store.reset(hits)\n        finally:\n",
            "        self._known.forget(hits)\n        if True:\n            return await self._store.reset(hits)\n        else:\n",
        ),
        model="refund",
    ),
    mutant(
        "no give-back in a Cluster",
        "a slot that was charged stays charged when another slot refuses",
        (
            "stores/redis/cluster.py",
            "await self._give_back(link, slots, hits, charged, decisions)",
            "pass",
        ),
        model="cluster",
    ),
]
