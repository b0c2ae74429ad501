"""The reference: its tables list what there is, all of it, and the site builds without warnings."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

import quart_ratelimit
from quart_ratelimit import InvalidLimit, Limiter
from quart_ratelimit.cli import cli
from quart_ratelimit.constants import ConfigVars
from quart_ratelimit.extension.binding import binding_of
from quart_ratelimit.rules.notation import quotas_of
from quart_ratelimit.settings.table import VARIABLES
from quart_ratelimit.stores import RedisStore

from ..support.serving import ROOT

DOCS = ROOT / "docs"


def rows(page: str, header: str) -> list[list[str]]:
    """The cells of the table whose first line begins so, without their backticks."""
    lines = iter((DOCS / page).read_text("utf-8").splitlines())
    for line in lines:
        if line.startswith(f"| {header}"):
            break
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            return found
        found.append([cell.strip().strip("`") for cell in line.split("|")[1:-1]])
    return found


SETTINGS = rows("reference/settings.md", "argument | variable")


def test_every_argument_of_the_constructor_is_listed() -> None:
    arguments = set(inspect.signature(Limiter).parameters) - {"app"}
    listed = {argument for argument, *_ in SETTINGS if argument}
    assert listed == arguments, "list it in docs/reference/settings.md"


def test_every_variable_is_listed_beside_its_argument() -> None:
    known = {value for name, value in vars(ConfigVars).items() if name.isupper()}
    listed_too = {variable for _, variable, *_ in SETTINGS if variable}
    assert listed_too == known, "list it in docs/reference/settings.md"
    listed = {argument: variable for argument, variable, *_ in SETTINGS}
    assert {name: listed[name] for name in VARIABLES} == VARIABLES


def test_the_defaults_are_those_of_a_limiter_that_was_told_nothing() -> None:
    binding = binding_of(Limiter(app=(app := Quart(__name__))), app)
    assert binding is not None
    defaults = {argument: default for argument, _, default, _ in SETTINGS}
    for name in ("key_prefix", "strategy", "headers_enabled", "swallow_errors", "on_store_error",
                 "fail_on_first_breach", "limit_unmatched", "limit_preflights",
                 "retry_jitter"):  # fmt: skip
        assert ast.literal_eval(defaults[name]) == getattr(binding.settings, name), name
    variables = {variable: default for _, variable, default, _ in SETTINGS}
    names = {f"RATELIMIT_HEADER_{key.name}": n for key, n in binding.settings.header_names.items()}
    assert {variable: variables[variable] for variable in names} == names


def test_every_option_of_the_redis_store_is_listed_with_its_default() -> None:
    keywords = {
        name: parameter.default
        for name, parameter in inspect.signature(RedisStore).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    listed = {name: default for name, default, _ in rows("howto/servers.md", "option | default")}
    assert listed.pop("any other") == ""
    assert {name: ast.literal_eval(default) for name, default in listed.items()} == keywords


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "reference" / "reference.md").read_text("utf-8")
    errors = {name for name in quart_ratelimit.__all__ if name in vars(quart_ratelimit.errors)}
    listed = set(re.findall(r"auto\w+:: quart_ratelimit\.(\w+)$", text, re.M))
    missing = set(quart_ratelimit.__all__) - errors - listed
    assert not missing, "list it in docs/reference/reference.md"
    assert "automodule:: quart_ratelimit.errors" in text


@pytest.mark.parametrize(("text", "meaning"), rows("reference/notation.md", "text | means"))
def test_a_limit_means_what_the_table_says(text: str, meaning: str) -> None:
    assert "; ".join(map(str, quotas_of(text))) == meaning


@pytest.mark.parametrize(("text", "_"), rows("reference/notation.md", "text | why not"))
def test_what_is_no_limit_is_an_error(text: str, _: str) -> None:
    with pytest.raises(InvalidLimit, match=re.escape(text)):
        quotas_of(text)


def test_every_command_and_option_is_listed() -> None:
    listed: dict[str, set[str]] = {}
    for command, option, _ in rows("reference/cli.md", "command | option"):
        if command:
            options = listed.setdefault(command, set())
        if option:
            options.add(option)
    there: dict[str, set[str]] = {
        name: {parameter.opts[0] for parameter in command.params}
        for name, command in cli.commands.items()
    }
    assert listed == there, "list it in docs/reference/cli.md"


def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    build: list[Any] = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", DOCS, tmp_path]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "admitted.svg" in (tmp_path / "explanation" / "algorithms.html").read_text("utf-8")
    sidebar = (tmp_path / "genindex.html").read_text("utf-8")
    for page in set(DOCS.rglob("*.md")) - {DOCS / "index.md"}:
        built = page.relative_to(DOCS).with_suffix(".html").as_posix()
        assert f'href="{built}"' in sidebar
