"""README.md and docs/: every Python block is run or type-checked, every shell block names commands
that there are.

A block that makes a Quart app is whole: it is run as it stands, in a fresh namespace, with its
store in place, and each of its GET routes is asked once. It is type-checked, too, and so are
fragments, which may go on from the fragments and the app above them.
"""

import ast
import builtins
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from quart import Quart

from quart_ratelimit import Hit
from quart_ratelimit.cli import cli
from quart_ratelimit.stores import RedisStore

from ..support.algorithms import ALL as QUOTAS
from ..support.markdown import ALL, APPS, PAGES, PYTHON, Block, blocks, load
from ..support.servers import RedisServer
from ..support.serving import ROOT

#: What code "before" is about: it is type-checked only, as far as these are installed.
OTHERS = {"flask", "flask_limiter", "quart_rate_limiter", "slowapi", "fastapi"}

#: Commands of the reader's own system that shell blocks use.
OUTSIDE = {
    ".",
    "apt-get",
    "brew",
    "cd",
    "curl",
    "docker",
    "export",
    "git",
    "pip",
    "python3",
    "redis-cli",
}


def name_of(block: Block) -> str:
    return block.where


def asked(app: Quart) -> list[str]:
    """The paths that a GET without arguments reaches."""
    return [
        rule.rule
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and not rule.arguments and not rule.websocket
    ]


def test_every_block_says_its_language() -> None:
    assert [block.where for block in ALL if not block.language] == []
    odd = {"py", "python3", "pycon", "bash", "shell", "console"}
    assert [block.where for block in ALL if block.language in odd] == []
    # Code that is written in another way would escape these tests.
    other = re.compile(r"^\s*(~~~|\.\. code)", re.M)
    assert [page.name for page in PAGES if other.search(page.read_text("utf-8"))] == []


def test_every_python_block_is_run_or_typed() -> None:
    count = sum(page.read_text("utf-8").count("```python") for page in PAGES)
    assert count == len(PYTHON)
    for block in PYTHON:
        assert block.word in ("", "before", "after"), block.where
        if block.word == "before":
            assert block.imports & OTHERS, f"{block.where} is nobody else's code"
        if block.word == "after":
            assert block in APPS, block.where


@pytest.mark.parametrize("block", APPS, ids=name_of)
async def test_an_app_runs_as_it_is_written(block: Block, redis_url: str) -> None:
    apps = [one for one in load(block, redis_url).values() if isinstance(one, Quart)]
    assert apps
    for app in apps:
        async with app.test_app():
            for path in asked(app):
                response = await app.test_client().get(path)
                assert response.status_code < 500, path


def names(source: str) -> tuple[set[str], set[str]]:
    """What a block defines or imports, and what it uses."""
    defined: set[str] = set()
    used: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                defined.add(node.name)
            case ast.Import() | ast.ImportFrom():
                aliases = [alias.asname or alias.name for alias in node.names]
                defined.update(name.partition(".")[0] for name in aliases)
            case ast.Name():
                (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
            case ast.arg():
                defined.add(node.arg)
            case ast.ExceptHandler(name=str() as name):
                defined.add(name)
    return defined, used


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_imports_what_its_blocks_use(page: Path) -> None:
    known = {*dir(builtins), "app"}  # `app` may be the reader's own
    for block in blocks(page):
        if block.language == "python" and block.word != "before":
            defined, used = names(block.source)
            known |= defined
            assert used - known == set(), block.where


def modules(page: Path) -> dict[str, str]:
    """What there is to type-check in a page: text by name. A line keeps its number in the page."""
    found: dict[str, str] = {}
    name, above = f"{page.stem}_1", "from tests.support.docs_preamble import *"
    for block in blocks(page):
        if block.language != "python":
            continue
        padding = "\n" * (block.line - 1)
        if block.word == "before" or block in APPS:
            whole = f"{page.stem}_{block.line}"
            found[whole] = padding + block.source
            if block in APPS:
                above = f"from tests.support.docs_preamble import *; from {whole} import *"
                name = f"{page.stem}_after_{block.line}"
            continue
        text = found.setdefault(name, above)
        found[name] = text + padding[text.count("\n") :] + block.source
    return found


def test_all_blocks_are_typed(tmp_path: Path) -> None:
    for page in PAGES:
        for name, text in modules(page).items():
            (tmp_path / f"{name}.py").write_text(text, "utf-8")
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--config-file=", f"--cache-dir={ROOT / '.mypy_cache'}",
            "--check-untyped-defs", "--ignore-missing-imports", "--hide-error-context",
            "--allow-redefinition-new", "--local-partial-types",
            # A page shows one view after another, and awaits without a function around it.
            "--disable-error-code=no-redef", "--disable-error-code=top-level-await",
            "--disable-error-code=syntax", *map(str, sorted(tmp_path.glob("*.py"))),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.replace(f"{tmp_path}/", "") + done.stderr


def commands(block: Block) -> list[list[str]]:
    """The command lines of a shell block, without variables set before them and without pipes."""
    lines = block.source.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [[word for word in line if not re.match(r"[A-Z_]+=", word)] for line in words if line]


def there_is(command: list[str]) -> bool:
    """Whether the reader can run this in our tree."""
    match command:
        case ["./dev", name, *_]:
            return f"\n    {name})" in (ROOT / "dev").read_text("utf-8")
        case ["python", "-m", module, *_]:
            return importlib.util.find_spec(module) is not None
        case ["python", path, *_]:
            return (ROOT / path).is_file()
        case ["quart", *rest]:
            options = [word for word in rest if not word.startswith("-")]
            at = options.index("limiter") if "limiter" in options else -1
            return at < 0 or options[at + 1] in cli.commands
        case ["hypercorn", *rest]:
            modules = [word.partition(":")[0] for word in rest if word.endswith(":app")]
            return len(modules) == 1 and modules[0] in {"app", "serve"} | {
                f"examples.{path.stem}" for path in (ROOT / "examples").glob("*.py")
            }
    return command[0] in OUTSIDE


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "sh"], ids=name_of)
def test_a_shell_block_names_commands_that_there_are(block: Block) -> None:
    assert [line for line in commands(block) if not there_is(line)] == []


async def test_the_readme_app_refuses_the_eleventh_request(redis_url: str) -> None:
    app = load(next(b for b in APPS if b.page.name == "README.md"), redis_url)["app"]
    async with app.test_app():
        client = app.test_client()
        statuses = [(await client.get("/api/data")).status_code for _ in range(11)]
        refused = await client.get("/api/data")
    assert statuses == [200] * 10 + [429]
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert await refused.get_json() == {"message": "Too many requests. Please try again later."}


async def test_the_tutorials_apps_refuse_the_sixth_request(redis_url: str) -> None:
    for block in [one for one in APPS if one.page.stem == "tutorial"]:
        app = load(block, redis_url)["app"]
        paths = asked(app)
        path = "/api/report" if "/api/report" in paths else "/api/data"
        async with app.test_app():
            await app.extensions["quart_ratelimit"].reset()
            answers = [await app.test_client().get(path) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
        assert answers[-1].headers["X-RateLimit-Remaining"] == "0"


async def test_the_access_that_is_asked_for_suffices(
    start_redis: Callable[..., RedisServer],
) -> None:
    text = (ROOT / "docs" / "howto" / "servers.md").read_text("utf-8")
    (rules,) = re.findall(r"an ACL user needs `([^`]+)`", text)
    server = start_redis()
    server.ask("ACL", "SETUSER", "limits", "on", ">secret", *rules.split())
    store = RedisStore(server.url.replace("redis://", "redis://limits:secret@"), deadline=5)
    await store.start()
    hits = [Hit(quota, "ann", lease="one") for quota in QUOTAS]
    assert all(await store.hit(hits))
    assert all([(await store.hit([hit]))[0] for hit in hits])
    assert await store.reset(hits[:1]) == 1
    assert await store.clear() == len(hits) - 1
    await store.aclose()
