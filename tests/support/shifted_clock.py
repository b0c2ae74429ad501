"""A wall clock that a test turns, for a redis-server or any process started with its `env`."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest

SOURCE = Path(__file__).with_name("clock_shim.c")
#: The shim looks into the file at most so often.
LOOKS_MS = 20


class ShiftedClock:
    """Real time plus so many milliseconds; skips where a library cannot be built or preloaded."""

    def __init__(self, shift_ms: int = 0) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="clock-"))
        atexit.register(self.close)
        self._file = self._folder / "shift"
        self._library = _library()
        self._write(shift_ms)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def env(self) -> dict[str, str]:
        """What a process needs in its environment to live by this clock."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_SHIFT_FILE": str(self._file)}

    def shift_ms(self, shift_ms: int) -> None:
        """Set the shift, counted from real time; in force when this returns (25 ms)."""
        self._write(shift_ms)
        # The clock's processes cannot be asked from here; after this their next look finds it.
        time.sleep((LOOKS_MS + 5) / 1000)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.close)

    def _write(self, shift_ms: int) -> None:
        # Replaced as a whole: nobody must read half a number.
        new = self._folder / "new"
        new.write_text(str(shift_ms), "ascii")
        new.replace(self._file)


@functools.cache
def _library() -> Path:
    """The shim, built once a session."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("a wall clock is shifted with LD_PRELOAD: this needs Linux and a C compiler")
    folder = Path(tempfile.mkdtemp(prefix="clock-shim-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / "clock_shim.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library
