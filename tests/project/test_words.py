"""Prose that a stranger understands at once: the words that CONTRIBUTING.md replaces stay away."""

from pathlib import Path

import pytest

from ..support.serving import ROOT
from ..support.words import REPLACED, in_module, in_page

PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
MODULES = [*sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "examples").rglob("*.py"))]

#: How many words a file may have, and why.
ALLOWED = {
    "docs/howto/responses.md": (2, "'HTTP/2, beside' is a row of a measured table"),
}

#: Files that are still to be rewritten, and how many words they have at most.
STILL = {
    "docs/explanation/proof.md": 5,
    "docs/howto/dashboard.md": 3,
    "docs/howto/observability.md": 7,
    "docs/reference/cli.md": 2,
    "docs/reference/doctor.md": 5,
    "docs/reference/versions.md": 1,
    "CONTRIBUTING.md": 3,
    "SECURITY.md": 1,
    "src/quart_ratelimit/callables.py": 6,
    "src/quart_ratelimit/cli/doctor.py": 1,
    "src/quart_ratelimit/cli/paths.py": 1,
    "src/quart_ratelimit/cli/render.py": 2,
    "src/quart_ratelimit/cli/survey.py": 4,
    "src/quart_ratelimit/clients/forwarded.py": 1,
    "src/quart_ratelimit/clients/key_functions.py": 6,
    "src/quart_ratelimit/clients/key_spaces.py": 1,
    "src/quart_ratelimit/clients/keys.py": 5,
    "src/quart_ratelimit/clients/networks.py": 2,
    "src/quart_ratelimit/clients/proxies.py": 3,
    "src/quart_ratelimit/clock.py": 1,
    "src/quart_ratelimit/contrib/dashboard/panel.py": 2,
    "src/quart_ratelimit/contrib/openapi/provider.py": 2,
    "src/quart_ratelimit/contrib/opentelemetry.py": 1,
    "src/quart_ratelimit/contrib/prometheus.py": 3,
    "src/quart_ratelimit/current.py": 3,
    "src/quart_ratelimit/direct/__init__.py": 1,
    "src/quart_ratelimit/direct/blocks.py": 1,
    "src/quart_ratelimit/direct/turns.py": 3,
    "src/quart_ratelimit/direct/websocket_connection.py": 4,
    "src/quart_ratelimit/enforcement/breach.py": 2,
    "src/quart_ratelimit/enforcement/evaluator.py": 2,
    "src/quart_ratelimit/enforcement/hooks.py": 3,
    "src/quart_ratelimit/enforcement/report.py": 1,
    "src/quart_ratelimit/enforcement/resolver.py": 2,
    "src/quart_ratelimit/enforcement/routes.py": 2,
    "src/quart_ratelimit/enforcement/shadow.py": 2,
    "src/quart_ratelimit/enforcement/shield.py": 2,
    "src/quart_ratelimit/errors.py": 7,
    "src/quart_ratelimit/extension/app_hooks.py": 1,
    "src/quart_ratelimit/extension/binding.py": 3,
    "src/quart_ratelimit/extension/counters.py": 3,
    "src/quart_ratelimit/extension/direct_limits.py": 11,
    "src/quart_ratelimit/extension/enumeration.py": 5,
    "src/quart_ratelimit/extension/limiter.py": 5,
    "src/quart_ratelimit/extension/snippet.py": 2,
    "src/quart_ratelimit/extension/startup.py": 4,
    "src/quart_ratelimit/findings.py": 1,
    "src/quart_ratelimit/quotas/__init__.py": 1,
    "src/quart_ratelimit/quotas/fixed_window.py": 2,
    "src/quart_ratelimit/quotas/gcra.py": 3,
    "src/quart_ratelimit/quotas/penalty.py": 3,
    "src/quart_ratelimit/quotas/quota.py": 9,
    "src/quart_ratelimit/recent.py": 1,
    "src/quart_ratelimit/responses/__init__.py": 1,
    "src/quart_ratelimit/responses/drafts.py": 2,
    "src/quart_ratelimit/responses/drain.py": 1,
    "src/quart_ratelimit/responses/problems.py": 1,
    "src/quart_ratelimit/responses/request_limit.py": 1,
    "src/quart_ratelimit/responses/writer.py": 1,
    "src/quart_ratelimit/responses/x_ratelimit.py": 2,
    "src/quart_ratelimit/rules/answers.py": 4,
    "src/quart_ratelimit/rules/exemptions.py": 1,
    "src/quart_ratelimit/rules/kinds.py": 7,
    "src/quart_ratelimit/rules/limits.py": 12,
    "src/quart_ratelimit/rules/limits_file.py": 3,
    "src/quart_ratelimit/rules/naming.py": 1,
    "src/quart_ratelimit/rules/notation.py": 1,
    "src/quart_ratelimit/rules/registry.py": 6,
    "src/quart_ratelimit/rules/resolved.py": 2,
    "src/quart_ratelimit/rules/validation.py": 1,
    "src/quart_ratelimit/rules/views.py": 1,
    "src/quart_ratelimit/settings/kinds.py": 4,
    "src/quart_ratelimit/settings/reading.py": 1,
    "src/quart_ratelimit/settings/table.py": 3,
    "src/quart_ratelimit/signals.py": 4,
    "src/quart_ratelimit/stores/__init__.py": 1,
    "src/quart_ratelimit/stores/breaker.py": 8,
    "src/quart_ratelimit/stores/fleet.py": 3,
    "src/quart_ratelimit/stores/guard.py": 1,
    "src/quart_ratelimit/stores/knowledge.py": 3,
    "src/quart_ratelimit/stores/memory.py": 1,
    "src/quart_ratelimit/stores/redis/arguments.py": 3,
    "src/quart_ratelimit/stores/redis/batcher.py": 5,
    "src/quart_ratelimit/stores/redis/checkup.py": 1,
    "src/quart_ratelimit/stores/redis/cluster.py": 1,
    "src/quart_ratelimit/stores/redis/cluster_link.py": 5,
    "src/quart_ratelimit/stores/redis/connections.py": 4,
    "src/quart_ratelimit/stores/redis/counters.py": 6,
    "src/quart_ratelimit/stores/redis/deadline.py": 2,
    "src/quart_ratelimit/stores/redis/failures.py": 3,
    "src/quart_ratelimit/stores/redis/hosts.py": 1,
    "src/quart_ratelimit/stores/redis/link.py": 1,
    "src/quart_ratelimit/stores/redis/pace.py": 1,
    "src/quart_ratelimit/stores/redis/packing.py": 1,
    "src/quart_ratelimit/stores/redis/per_loop.py": 1,
    "src/quart_ratelimit/stores/redis/script.py": 3,
    "src/quart_ratelimit/stores/redis/sentinels.py": 2,
    "src/quart_ratelimit/stores/redis/server_clock.py": 6,
    "src/quart_ratelimit/stores/redis/uri.py": 9,
    "src/quart_ratelimit/stores/redis/wire.py": 4,
    "src/quart_ratelimit/stores/refusals.py": 3,
    "src/quart_ratelimit/stores/standin.py": 7,
    "src/quart_ratelimit/stores/store.py": 1,
    "examples/behind_proxy.py": 2,
    "examples/chat.py": 1,
    "examples/flask_migration/after.py": 1,
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def found(path: Path) -> list[str]:
    return in_page(path) if path.suffix == ".md" else in_module(path)


@pytest.mark.parametrize("path", PAGES + MODULES, ids=name_of)
def test_no_word_stands_that_has_a_plainer_one(path: Path) -> None:
    words = found(path)
    most, _ = ALLOWED.get(name_of(path), (STILL.get(name_of(path), 0), ""))
    assert len(words) <= most, f"{name_of(path)}: {words}; write instead: {REPLACED}"


def test_the_list_of_exceptions_is_as_short_as_it_can_be() -> None:
    spare = {name: len(found(ROOT / name)) for name, (most, _) in ALLOWED.items()}
    assert spare == {name: most for name, (most, _) in ALLOWED.items()}


def test_code_and_links_are_not_prose(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Ask `tell`, [see](told.md).\n\n```sh\nask\n```\n\n    asked\n\nIt is no list.\n"
    )
    assert in_page(page) == ["1: Ask", "9: is no"]


def test_docstrings_comments_and_errors_are_prose(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""Ask it."""\n\n# told anew\ntell = "ask"\nraise ValueError("x is no y")\n')
    assert in_module(module) == ["1: Ask", "3: told", "3: anew", "5: is no"]
