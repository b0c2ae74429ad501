"""A penalty: who offends so often is blocked for a time, and for longer each time.

The idea is fail2ban's "bantime.increment" and Rack::Attack's Fail2Ban. A hit is an offence, a look
checks whether the key is blocked: so a penalty is made to be a meta limit, which is looked at in
each request and charged for each refusal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ..errors import InvalidLimit
from .quota import LONGEST_PERIOD, Decision, Hit, Quota, check_whole

#: When the first offence of the running period was (ms), how many there are, how many blocks there
#: were, and when the last one ends or ended.
Record = tuple[int, int, int, int]

NONE: Record = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Penalty(Quota):
    """Blocks repeated offenders: ``meta_limits=[Penalty(10, 600, blocks=(60, 600, 3600))]``.

    - ``amount``, ``period``: a key is blocked at its ``amount``-th offence within ``period``
      seconds of the first.
    - ``blocks``: the lengths of the first block, the second, and so on, in seconds (default 60,
      600, 3600). The last one is repeated.
    - ``forget``: how many seconds after the end of the last block the blocks are forgotten
      (default 86,400).

    No offence counts while a key is blocked, and a refund does not lift a block. Raises
    `InvalidLimit`.
    """

    algorithm: ClassVar[str] = "penalty"

    #: Seconds that each block lasts.
    blocks: tuple[int, ...] = field(default=(60, 600, 3_600), kw_only=True)
    #: Seconds after which the blocks before are forgotten.
    forget: int = field(default=86_400, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if not self.blocks:
            raise InvalidLimit(
                "blocks=() must have a block; write the seconds of each, blocks=(60, 600)"
            )
        for seconds in self.blocks:
            check_whole("blocks", seconds, LONGEST_PERIOD)
        check_whole("forget", self.forget, LONGEST_PERIOD)
        Quota.__post_init__(self)

    def spec(self) -> tuple[str | int, ...]:
        """Amount and period, after how long blocks are forgotten, and each block, in ms."""
        blocks = [seconds * 1000 for seconds in self.blocks]
        return (self.algorithm, self.amount, self.period_ms, self.forget * 1000, *blocks)

    def resume(self, decision: Decision, now_ms: int) -> Record:
        """The offences and the block that the decision reported."""
        used, end = self.amount - decision.remaining, now_ms + decision.reset_ms
        if decision.remaining and decision.reset_ms <= self.period_ms:
            return (now_ms, used, 0, 0)
        until = max(0, end - self.forget * 1000)
        level = 1
        while level < len(self.blocks) and now_ms + self.blocks[level - 1] * 1000 < until:
            level += 1
        return (now_ms, used if decision.remaining else 0, level, until)

    def heal(self, state: Record, now_ms: int) -> Record:
        """No offence is from the future, and no block ends later than it may last."""
        first, used, level, until = state
        longest = self.blocks[:level][-1] * 1000 if level else 0  # the list may have been longer
        return (min(first, now_ms), used, level, min(until, now_ms + longest))

    def advance(self, state: Record | None, now_ms: int, hit: Hit) -> tuple[Record, Decision]:
        """Decide by the block that runs, else by the offences of the running period."""
        # Healed as the twin's load does: the blocks may have become shorter since.
        first, used, level, until = self.heal(state, now_ms) if state else NONE
        if not used or now_ms >= first + self.period_ms:
            first, used = now_ms, 0
        if not level or now_ms >= until + self.forget * 1000:
            level, until = 0, 0
        cost, units = hit.cost, hit.cost or 1
        if now_ms < until:
            allowed = cost < 0 or hit.forced
            retry: int | None = 0 if allowed else until - now_ms
        elif cost < 0:
            allowed, retry = True, 0
            if hit.at_ms >= first:
                used = max(0, used + cost)
        elif used + units <= self.amount or hit.forced:
            allowed, retry, used = True, 0, used + cost
            if cost and used >= self.amount:
                level = min(level + 1, len(self.blocks))
                first, used, until = now_ms, 0, now_ms + self.blocks[level - 1] * 1000
        else:
            allowed = False
            retry = first + self.period_ms - now_ms if units <= self.amount else None
        remaining = 0 if now_ms < until else max(0, self.amount - used)
        reset = max(
            until + self.forget * 1000 - now_ms if level else 0,
            first + self.period_ms - now_ms if used else 0,
        )
        return (first, used, level, until), Decision(allowed, remaining, reset, retry, now_ms)

    def __str__(self) -> str:
        return f"a block after {Quota.__str__(self)}"
