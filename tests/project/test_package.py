"""The wheel as pip installs it: typed, with every data file, and working from outside the tree."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from quart_ratelimit.quotas import ALGORITHMS

from ..support.serving import ROOT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.suffix in {".py", ".lua", ".typed"}
    }
    held = set(zipfile.ZipFile(wheel).namelist())
    assert wanted <= held
    assert {f"quart_ratelimit/quotas/{name}.lua" for name in ALGORITHMS} <= held
    assert "quart_ratelimit/py.typed" in held


def test_the_wheel_adds_its_commands_to_quart(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as held:
        name = next(name for name in held.namelist() if name.endswith("entry_points.txt"))
        assert "[quart.commands]\nlimiter = quart_ratelimit.cli:cli" in held.read(name).decode()


def test_the_wheel_decides_and_finds_its_script(wheel: Path, tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[1]);"
        "from quart_ratelimit import Limiter, stores;"
        "from quart_ratelimit.stores import MemoryStore;"
        "from quart_ratelimit.stores.redis import script;"
        "assert sys.argv[1] in stores.__file__, stores.__file__;"
        "assert 'fixed_window' in script.script();"
        "print(bool(asyncio.run(Limiter(store=MemoryStore()).hit('1/minute', 'ann'))))"
    )
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(folder)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "True\n", done.stderr


def test_the_wheels_page_links_to_the_project(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as held:
        name = next(name for name in held.namelist() if name.endswith("/METADATA"))
        metadata = held.read(name).decode()
    for label in ("Documentation", "Source", "Changelog", "Issues"):
        assert f"Project-URL: {label}, https://" in metadata


def test_the_wheels_page_has_no_link_that_needs_the_repository_around_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as held:
        name = next(name for name in held.namelist() if name.endswith("/METADATA"))
        page = held.read(name).decode()
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert len(links) > 20
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_every_link_to_a_file_leads_to_one(page: str) -> None:
    links = re.findall(r"\]\((?!https:)([^)#]+)", (ROOT / page).read_text("utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_contributing_names_every_command_it_shows() -> None:
    commands = set(re.findall(r"\./dev (\w+)", (ROOT / "CONTRIBUTING.md").read_text("utf-8")))
    known = set(re.findall(r"^    (\w+)\)", (ROOT / "dev").read_text("utf-8"), re.M))
    assert {"test", "lint", "docs", "bench", "slow"} <= commands <= known
