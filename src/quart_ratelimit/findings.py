"""What may be wrong with a set-up: findings by code. docs/reference/doctor.md says more of each.

Knows the codes, and how a finding looks; who looks for them is elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: From what must be changed to what is worth knowing.
SEVERITIES = ("error", "warning", "info")


class Code(NamedTuple):
    """What all findings of one code have in common."""

    severity: str
    #: Why it matters, in one sentence.
    why: str


CODES = {
    "QRL001": Code("warning", "Each worker counts alone, so N workers allow N times the limit."),
    "QRL002": Code("info", "Redis before 7.0 has no EXPIRE NX: every hit is decided by a script."),
    "QRL003": Code("error", "A command that is sent again after a lost reply counts a hit twice."),
    "QRL004": Code(
        "warning", "An exhausted pool of this kind raises, so a flood looks like a dead Redis."
    ),
    "QRL005": Code("info", "Every reply is decoded to text, and no reply is read as text."),
    "QRL006": Code(
        "error",
        "Maintenance notifications switch off the check for stray replies: one stray reply shifts "
        "all that follow, and counts are read from other answers.",
    ),
    "QRL007": Code("warning", "A health check is one more round trip in front of a hit."),
    "QRL008": Code(
        "info", "It costs a timer per reply, and never acts, because the deadline is shorter."
    ),
    "QRL009": Code(
        "error", "Each of these workers counts alone, so N workers allow N times the limit."
    ),
    "QRL010": Code("error", "Redis evicts counters when memory is short: limits start at zero."),
    "QRL011": Code("info", "A restart of Redis forgets all counts: limits start at zero."),
    "QRL012": Code("error", "A replica refuses writes, so nothing can be counted there."),
    "QRL013": Code("info", "A failover loses the counts that were not yet replicated."),
    "QRL014": Code("error", "Nothing is counted in the store: the policy decides every request."),
    "QRL015": Code("info", "Redis' settings could not be read."),
    "QRL016": Code("warning", "A slow Redis holds up every limited request for that long."),
    "QRL017": Code("info", "Every limited request waits for Redis for that long."),
    "QRL018": Code("error", "Replies come after the deadline: the policy decides every request."),
    "QRL020": Code("warning", "All clients behind that proxy share one limit."),
    "QRL021": Code("warning", "Clients share one limit: one of them can use it up for all."),
    "QRL022": Code(
        "error", "Requests without a key count for the client's address, and an error is logged."
    ),
    "QRL023": Code("error", "One of the two takes the proxy for the client."),
    "QRL024": Code("warning", "All clients behind that proxy share one limit."),
    "QRL030": Code("warning", "While the store is away nothing slows down guessing."),
    "QRL031": Code("warning", "The limit can never be reached: another refuses first."),
    "QRL032": Code("error", "The limit never runs."),
    "QRL033": Code("info", "Nothing is limited."),
    "QRL034": Code("info", "The limiter is switched off."),
    "QRL035": Code("info", "A limit in shadow refuses nothing."),
    "QRL036": Code(
        "warning", "Views with scope=None share one counter: one view can use it up for all."
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was seen, and how to put it right."""

    code: str
    #: What was seen, with its value; has no key, client or password in it.
    seen: str
    #: The exact change.
    fix: str

    @property
    def severity(self) -> str:
        """One of `SEVERITIES`."""
        return CODES[self.code].severity

    @property
    def why(self) -> str:
        """Why it matters."""
        return CODES[self.code].why

    def __str__(self) -> str:
        return f"{self.code} {self.seen}. {self.why} {self.fix}"

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {
            "code": self.code,
            "severity": self.severity,
            "seen": self.seen,
            "why": self.why,
            "fix": self.fix,
        }
