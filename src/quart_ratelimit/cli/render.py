"""A survey and a limiter's settings as Rich draws them. Needs the extra ``cli``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.pretty import Pretty
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..clients.keys import client_of
from ..constants import ConfigVars, HeaderNames
from ..extension.fleet_rows import FleetView, Part, in_order
from ..rules.limits import Limit
from ..settings.table import Settings
from .survey import Line, Place, StorageShown, Survey, function_name, provider_text, shadow_text

_STYLES = {
    "route": "yellow",
    "blueprint": "bold red",
    "default": "magenta",
    "application": "magenta",
    "meta": "magenta",
}
#: Sources that a line names, as its place does not show them.
_NAMED = ("rate_limit", "in_flight", "messages", "hit", "block")


def console() -> Console:
    """Standard output; wide where it is not a terminal, so that no line of a tree is broken."""
    drawn = Console()
    return drawn if drawn.is_terminal else Console(width=160)


def survey(found: Survey, app_name: str) -> RenderableType:
    """Trees of meta limits, application limits, and each group's routes."""
    trees: list[Tree] = []
    if found.application:
        trees.append(_tree("Meta Limits", found.meta))
        trees.append(_tree("Application Limits", found.application))
    elif found.meta:
        trees.append(_tree("Meta Limits", found.meta))
    for name, places in found.groups.items():
        tree = Tree(Text(name, "gold3" if name == app_name else "blue"))
        for place in places:
            tree.add(_place(place))
        trees.append(tree)
    for label, lines in (
        ("Functions", found.functions),
        ("Checked in code", found.code),
        ("While the store is away", found.fallback),
    ):
        if lines:
            trees.append(_tree(label, lines))
    return Group(*trees)


async def watch(look: Callable[[], Awaitable[Sequence[RenderableType]]], seconds: float) -> None:
    """Draw what ``look`` answers on the whole screen, again and again, until interrupted."""
    with Live(Group(*await look()), screen=True, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(seconds)
            live.update(Group(*await look()), refresh=True)


def fleet(found: FleetView, *, with_workers: bool = False) -> Table:
    """What all workers counted, a row for each limit; below it, each worker's part."""
    count = "1 worker" if len(found.parts) == 1 else f"{len(found.parts)} workers"
    table = Table(title=f"Rate limits of {count}")
    for title in ("Limit", "Scope"):
        table.add_column(title)
    for title in ("Allowed", "Refused", "By the policy"):
        table.add_column(title, justify="right")
    table.add_column("Busiest clients")
    for row in found.rows:
        sums = Part(row.allowed, row.refused, row.fallback)
        busiest = "\n".join(f"{client_of(key)}: {hits}, {no} refused" for key, hits, no in row.top)
        numbers = _numbers(sums, shadow=row.shadow)
        table.add_row(Text(row.limit), Text(row.scope), *numbers, Text(busiest))
        for worker, part in in_order(row.parts) if with_workers else ():
            table.add_row("", Text(worker.text, "dim"), *_numbers(part, shadow=row.shadow), "")
    return table


def _numbers(part: Part, *, shadow: bool) -> tuple[str, str, str]:
    refused = f"{part.refused} (shadow)" if shadow else str(part.refused)
    return str(part.allowed), refused, str(part.fallback)


def settings(found: Settings, *, enabled: bool, storage: StorageShown, healthy: bool) -> Table:
    """The settings, with the names of their variables."""
    table = Table(title="Rate limiting config")
    for title in ("Notes", "Configuration", "Value"):
        table.add_column(title)
    table.add_row("Enabled", ConfigVars.ENABLED, Pretty(enabled))
    table.add_row("Key Function", ConfigVars.KEY_FUNC, function_name(found.key_func))
    table.add_row("Key Prefix", ConfigVars.KEY_PREFIX, Pretty(found.key_prefix))
    table.add_row("Rate Limiting Config", *_store(found, storage, healthy))
    groups = (
        ("Application Limits", "APPLICATION_LIMITS", found.application_limits),
        ("Default Limits", "DEFAULT_LIMITS", found.default_limits),
    )
    for note, name, limits in groups:
        table.add_row(
            note, getattr(ConfigVars, name), Pretty([provider_text(one) for one in limits])
        )
        for limit in limits[:1]:
            _add_group(table, name, limit)
    metas = [provider_text(limit) for limit in found.meta_limits]
    table.add_row("Meta Limits", ConfigVars.META_LIMITS, Pretty(metas))
    table.add_row("Header configuration", *_headers(found))
    first = Pretty(found.fail_on_first_breach)
    table.add_row("Fail on first breach", ConfigVars.FAIL_ON_FIRST_BREACH, first)
    table.add_row("On breach callback", ConfigVars.ON_BREACH, function_name(found.on_breach))
    table.add_row("While the store is away", "", Pretty(found.on_store_error))
    return table


def _tree(label: str, lines: Iterable[Line]) -> Tree:
    tree = Tree(Text(label, "gold3"))
    for line in lines:
        tree.add(_line(line))
    return tree


def _place(place: Place) -> Tree:
    tree = Tree(Text(f"{place.endpoint}: {place.rule}"))
    for line in place.lines:
        tree.add(_line(line))
    if place.exempt:
        tree.add(Text("Exempt", "bold red"))
    return tree


def _line(line: Line) -> Text:
    listed = line.listed
    text = Text(line.text if line.cleared else _with_options(line))
    text.stylize(_STYLES.get(listed.source, "yellow"))
    if listed.function:
        text.append(f" by {listed.function}")
    if listed.source in _NAMED:
        text.append(f" [{listed.source}]")
    if line.cleared:
        text.append(": ").append("Cleared", "bold green")
    if listed.method:
        text.append(f" ({listed.method})", "bold green")
    if line.error:
        text.append(": ").append(line.error, "bold red")
    if line.note:
        text.append(": ").append(line.note)
    if line.allowed is not None:
        word, style = ("Pass", "bold green") if line.allowed else ("Fail", "bold red")
        text.append(": ").append(word, style)
        text.append(f" ({line.remaining} out of {listed.quota.amount} remaining)")
    for key in line.keys:
        text.append(f"\n{key}", "dim")
    return text


def _with_options(line: Line) -> str:
    limit = line.listed.limit
    if limit is None:
        return line.text
    options: list[tuple[str, Callable[..., object] | None]] = [
        ("deduct_when", limit.deduct_when),
        ("exempt_when", limit.exempt_when),
    ]
    named = [f"{name}: {function_name(value)}" for name, value in options if value]
    shadow = shadow_text(limit)
    if shadow:
        named.append("shadow" if shadow is True else f"shadow: {shadow}")
    given = ", ".join(named)
    return f"{line.text} {{{given}}}" if given else line.text


def _store(found: Settings, storage: StorageShown, healthy: bool) -> tuple[Tree, Tree]:
    left = Tree(ConfigVars.STRATEGY)
    node = left.add(ConfigVars.STORAGE_URI)
    node.add("Instance")
    node.add("Backend")
    left.add(ConfigVars.STORAGE_OPTIONS)
    left.add("Status")
    uri, store, backend, options = storage
    right = Tree(Text(found.strategy, "magenta"))
    node = right.add(Text(uri))
    node.add(Text(store, "magenta"))
    node.add(Text(backend, "magenta"))
    node.add(Text(repr(options)))
    node.add(Text("OK", "bold green") if healthy else Text("Error", "bold red"))
    return left, right


def _add_group(table: Table, name: str, limit: Limit) -> None:
    cost = 1 if limit.cost is None else limit.cost
    for option, value in (
        ("PER_METHOD", limit.per_method),
        ("EXEMPT_WHEN", limit.exempt_when),
        ("DEDUCT_WHEN", limit.deduct_when),
        ("COST", cost),
    ):
        table.add_row(None, getattr(ConfigVars, f"{name}_{option}"), function_name(value))


def _headers(found: Settings) -> tuple[RenderableType, RenderableType]:
    if not found.headers_enabled:
        return ConfigVars.HEADERS_ENABLED, Pretty(False)
    left, right = Tree(ConfigVars.HEADERS_ENABLED), Tree(Pretty(True))
    for variable, header in (
        (ConfigVars.HEADER_LIMIT, HeaderNames.LIMIT),
        (ConfigVars.HEADER_RESET, HeaderNames.RESET),
        (ConfigVars.HEADER_REMAINING, HeaderNames.REMAINING),
        (ConfigVars.HEADER_RETRY_AFTER, HeaderNames.RETRY_AFTER),
    ):
        left.add(variable)
        right.add(Pretty(found.header_names[header]))
    left.add(ConfigVars.HEADER_RETRY_AFTER_VALUE)
    right.add(Pretty(found.retry_after))
    return left, right
