"""Seeded faults of what a developer declares; each has been in the package."""

from __future__ import annotations

from .mutant import mutant

MUTANTS = [
    mutant(
        "case defaults_switched_off",
        "a limit of one method switches the defaults off for all",
        (
            "enforcement/resolver.py",
            "any(one.override_defaults and not one.exempts(method) for one in limits)",
            "any(one.override_defaults for one in limits)",
        ),
    ),
    mutant(
        "case two_key_spaces",
        "clients that two functions name share one space",
        (
            "settings/table.py",
            'return "" if space == self.unnamed_space else space',
            'return ""',
        ),
    ),
    mutant(
        "case sync_decorator",
        "a sync view is wrapped by an async function that its decorator cannot call",
        ("rules/views.py", "if call is None or call.is_in_event_loop():", "if True:"),
    ),
    mutant(
        "case shield_page",
        "the shield compares no request fields",
        (
            "enforcement/shield.py",
            '        tuple(map(tuple, scope["headers"])),\n    )\n\n\ndef _is_compared',
            "        (),\n    )\n\n\ndef _is_compared",
        ),
    ),
    mutant(
        "case arguments",
        "a text is taken for a list of methods",
        (
            "rules/kinds.py",
            "if isinstance(value, str) or not isinstance(value, Iterable):\n"
            '        raise ConfigurationError(f"{name}={value!r} is not a list of HTTP methods',
            "if not isinstance(value, Iterable):\n"
            '        raise ConfigurationError(f"{name}={value!r} is not a list of HTTP methods',
        ),
    ),
    mutant(
        "case arguments, costs",
        "a cost below 0 is a cost",
        (
            "rules/kinds.py",
            "not isinstance(cost, int) or cost < 0 or",
            "not isinstance(cost, int) or",
        ),
    ),
    mutant(
        "case traps",
        "a call without its await is true",
        (
            "callables.py",
            "return Unawaited(method(*args, **kwargs), name)",
            "return method(*args, **kwargs)",
        ),
    ),
    mutant(
        "case sentinel_uris",
        "an IPv6 address is no host",
        ("stores/redis/hosts.py", r"(?:\[([^\[\]]+)\]|([^:\[\]]+))", r"(?:\[(x)\]|([^:\[\]]+))"),
    ),
    mutant(
        "case cluster_node",
        "a node of a Cluster is an outage that will pass",
        (
            "stores/redis/failures.py",
            "if isinstance(error, _CLUSTERS) and isinstance(source, redis.asyncio.ConnectionPool):",
            "if False:",
        ),
    ),
]
