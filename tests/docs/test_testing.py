"""docs/howto/testing.md: its tests pass on its app, where no Redis is,
as a reader would run them.
"""

import re
import subprocess
import sys
from pathlib import Path

from ..support.serving import ROOT

TEXT = (ROOT / "docs" / "howto" / "testing.md").read_text("utf-8")
SHOP, *TESTS = re.findall(r"```python\n(.*?)```", TEXT, re.S)

SETTINGS = """[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


def run_tests(folder: Path, shop: str) -> tuple[int, str]:
    (folder / "shop.py").write_text(shop, "utf-8")
    (folder / "test_shop.py").write_text("\n".join(TESTS), "utf-8")
    (folder / "pytest.ini").write_text(SETTINGS, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_the_tests_pass_without_a_redis(tmp_path: Path) -> None:
    status, told = run_tests(tmp_path, SHOP.replace("localhost:6379", "127.0.0.1:1"))
    assert status == 0, told
    assert "4 passed" in told


def test_the_tests_find_an_app_that_limits_otherwise(tmp_path: Path) -> None:
    shop = SHOP.replace("10/minute", "9/minute").replace("100/day", "99/day")
    status, told = run_tests(tmp_path, shop.replace("localhost:6379", "127.0.0.1:1"))
    assert status == 1
    assert "3 failed, 1 passed" in told
    assert "10/minute: request 10 of 10 is refused" in told
