"""What code that asks by itself is given: a way to charge, and somebody to tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ..quotas import Decision, Hit

#: Charges all hits or none: `Limiter.charge`.
Charge = Callable[[Sequence[Hit]], Awaitable[list[Decision]]]
#: Notes what was decided; the error if it is a refusal.
Tell = Callable[[Sequence[Hit], Sequence[Decision]], Exception | None]
