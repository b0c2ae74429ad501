"""Runs the tests of one row, and says what they ran on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .places import BUILD, ROOT, Missing, server_of_suite, server_of_wheel, suite, wheels
from .rows import Row

#: Which tests failed, in a folder for each row: kept when the project is copied again.
CACHE = ".matrix_cache"
#: Prints the versions of what a row's Python imports.
VERSIONS = (
    "import sys; from importlib.metadata import version as v;"
    "print('Python', sys.version.split()[0],"
    " *[f'{p} {v(p)}' for p in ('quart', 'redis', 'hypercorn')])"
)
#: A test that hangs ends its process, else its row would never end. Before redis-py 8, a Cluster's
#: client does not close all that it opened.
PYTEST = (
    "-m", "pytest", "-q", "-m", "not slow",
    "-o", "faulthandler_timeout=300", "-o", "faulthandler_exit_on_timeout=true",
    "-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning",
)  # fmt: skip
#: The last line of pytest, and the server that the tests' own summary names.
SUMMARY = re.compile(r"^=*\s*(\d+ (?:passed|failed).*) in [\d.]+s.*$", re.M)
SERVER = re.compile(r"^redis: (\w+) server v=(\S+)", re.M)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a row."""

    row: Row
    #: "passed", "failed", or why it could not be run.
    verdict: str
    #: The versions of Python, packages and server.
    ran_on: str
    #: pytest's counts.
    counts: str
    seconds: float
    #: All that pytest wrote.
    output: str = ""


def run(row: Row, *options: str) -> Outcome:
    """Install what the row needs, run its tests with these options more, and return the outcome."""
    began = time.monotonic()
    try:
        command, env = _in_suite(row) if row.python else _here(row)
    except Missing as missing:
        return Outcome(row, f"not run: {missing}", "", "", time.monotonic() - began)
    began = time.monotonic()
    versions = _call([*command, "-c", VERSIONS], env)
    cache = f"cache_dir={CACHE}/{_file_name(row)}"  # no test of another row is a failed one
    done = _call([*command, *PYTEST, "-o", cache, *row.options, *options, *row.tests], env)
    server, counts = SERVER.search(done.stdout), SUMMARY.findall(done.stdout)
    return Outcome(
        row,
        "passed" if done.returncode == 0 else "failed",
        f"{versions.stdout.strip()}, {' '.join(server.groups()) if server else 'no server'}",
        counts[-1] if counts else "",
        time.monotonic() - began,
        versions.stdout + done.stdout,
    )


def _here(row: Row) -> tuple[list[str], Mapping[str, str]]:
    """This Python, with the row's packages before those of its venv."""
    env = {**os.environ}
    if row.packages:
        folder = wheels(_file_name(row), [*row.packages], alone=False)
        env["PYTHONPATH"] = os.pathsep.join([str(folder), env.get("PYTHONPATH", "")])
    if row.server:
        find = server_of_suite if "/" in row.server else server_of_wheel
        env["TESTS_REDIS_SERVER"] = find(row.server)
    return [sys.executable], env


def _in_suite(row: Row) -> tuple[list[str], Mapping[str, str]]:
    """A suite's Python, in a copy of the project inside the suite's folder."""
    folder = suite(row.python)
    project = folder / "project"
    _copy_project(project)
    inside = [
        "unshare", "--mount", "sh", "-c",
        'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev"; exec chroot "$0" "$@"',
        str(folder), "env", "--chdir=/project",
    ]  # fmt: skip
    if not (folder / "venv/bin/pytest").exists():
        for step in (
            ["python3", "-m", "venv", "/venv"],
            ["/venv/bin/pip", "install", "-q", "--upgrade", "pip"],
            ["/venv/bin/pip", "install", "-q", "-e", ".[fast,cli]", "--group", "test"],
        ):
            done = _call([*inside, *step], os.environ)
            if done.returncode:
                raise Missing(f"{' '.join(step)} in {row.python}: {done.stdout.strip()[-500:]}")
    program = row.server.partition("/")[2] or "redis-server"
    variables = [f"TESTS_REDIS_SERVER=/usr/bin/{program}", "PATH=/venv/bin:/usr/bin:/bin"]
    return [*inside, *variables, "/venv/bin/python"], os.environ


def _copy_project(place: Path) -> None:
    """The files that git knows, as they are now."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    place.mkdir(exist_ok=True)
    old = [path for path in place.iterdir() if path.name != CACHE]
    subprocess.run(["rm", "-rf", *map(str, old)], check=True)
    subprocess.run(
        ["xargs", "-0", "cp", "--parents", "-t", str(place)], cwd=ROOT, input=names, check=True
    )


def _call(command: list[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=dict(env), check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def log_of(outcome: Outcome) -> Path:
    """Keeps what a row's tests wrote, in a file."""
    path = BUILD / f"{_file_name(outcome.row)}.log"
    path.write_text(outcome.output, "utf-8")
    return path


def _file_name(row: Row) -> str:
    return re.sub("[^a-z0-9.]+", "-", row.name.lower())
