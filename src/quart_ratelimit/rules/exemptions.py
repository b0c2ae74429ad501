"""What a view or a blueprint is exempt from, and how that passes down nested blueprints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..constants import ExemptionScope

if TYPE_CHECKING:
    from quart import Blueprint

#: What ``limiter.exempt`` means without flags.
USUAL = ExemptionScope.APPLICATION | ExemptionScope.DEFAULT | ExemptionScope.META

#: A blueprint that is exempt from no more than these keeps its own limits.
_KEEPS_OWN = ExemptionScope.DEFAULT | ExemptionScope.APPLICATION | ExemptionScope.ANCESTORS


def inherited(
    path: Sequence[Blueprint], flags: Mapping[Blueprint, ExemptionScope]
) -> ExemptionScope:
    """What a view in the last blueprint of ``path`` (outermost first) is exempt from by them."""
    exemption = ExemptionScope.NONE
    for blueprint in path:
        own = flags.get(blueprint, ExemptionScope.NONE)
        if blueprint is path[-1]:
            exemption |= own & ~ExemptionScope.ANCESTORS
        elif own & ExemptionScope.DESCENDENTS:
            exemption |= own
    return exemption


def limiting(
    path: Sequence[Blueprint], flags: Mapping[Blueprint, ExemptionScope], *, overrides: bool
) -> list[Blueprint]:
    """Which blueprints of ``path``, outermost first, limit a view in the last of them.

    ``overrides`` says whether all limits of the last one replace the others' limits. A blueprint
    exempt from META or with DESCENDENTS loses its own limits, as in Flask-Limiter.
    """
    last = path[-1]
    own = flags.get(last, ExemptionScope.NONE)
    if own & ~_KEEPS_OWN:
        return []
    if overrides or own & ExemptionScope.ANCESTORS:
        return [last]
    return [
        blueprint
        for blueprint in path
        if not flags.get(blueprint, ExemptionScope.NONE) & ExemptionScope.DESCENDENTS
    ]
