"""docs/howto/responses.md: what its app answers a real curl and a real websocket client,
line by line.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from quart_ratelimit import Limiter
from quart_ratelimit.stores import MemoryStore
from quart_ratelimit.util import get_remote_address

from ..support import transcripts
from ..support.transcripts import TEXT, by_curl, by_hand, masked, play, served


@pytest.mark.parametrize("ask", [by_hand, by_curl])
def test_the_answers_are_those_of_the_page(ask: transcripts.Ask) -> None:
    if ask is by_curl and shutil.which("curl") is None:
        pytest.skip("no curl is installed; what it would print was compared all the same")
    with served() as port:
        assert masked(play(TEXT, port, ask)) == masked(TEXT)


def test_what_varies_is_a_wait_or_a_time_and_nothing_else() -> None:
    assert masked("x-ratelimit-limit: 1") != masked("x-ratelimit-limit: 2")
    assert masked('"a";r=1;t=2') == masked('"a";r=1;t=3') != masked('"a";r=2;t=2')


def fields_told() -> list[tuple[str, list[str]]]:
    """The rows of the table of drafts: settings, and the fields beside them."""
    table = TEXT.partition("## Which fields")[2].partition("\n\n#")[0]
    rows = re.findall(r"^\| (`\".*?) \| (.*) \|$", table, re.M)
    return [
        (setting, re.findall(r"`([\w-]+: .*?)`", told))
        for settings, told in rows
        for setting in re.findall(r'`"(.*?)"`', settings)
    ]


def test_all_drafts_are_in_the_table() -> None:
    from quart_ratelimit.responses.drafts import DRAFTS

    assert [setting for setting, _ in fields_told()] == ["x-ratelimit", *DRAFTS]


@pytest.mark.parametrize(("setting", "told"), fields_told())
async def test_each_draft_is_told_as_the_table_says(setting: str, told: list[str]) -> None:
    app = Quart(__name__)
    store = MemoryStore(now_ms=lambda: 1_800_000_000_000)
    limiter = Limiter(get_remote_address, app=app, store=store, header_fields=setting)

    @app.get("/")
    @limiter.limit("10/minute")
    async def index() -> str:
        return "here"

    headers: Any = (await app.test_client().get("/")).headers
    found = [
        f"{name}: {value}" for name, value in headers if not name.lower().startswith("content")
    ]
    assert sorted(map(steady, found)) == sorted(map(steady, told))


def steady(line: str) -> str:
    """The name in lower case, and the value unless the wall clock has a say in it."""
    name, value = line.split(": ", 1)
    name = name.lower()
    return name if name in ("x-ratelimit-reset", "retry-after") else f"{name}: {value}"


def test_the_page_is_written_by_the_command_that_it_names() -> None:
    assert f"python -m tests.support.{Path(transcripts.__file__).stem}" in TEXT
