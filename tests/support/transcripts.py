"""docs/howto/responses.md: its app under Hypercorn, asked what its transcripts ask.

``python -m tests.support.transcripts`` writes the answers into the page.
"""

import asyncio
import contextlib
import io
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .serving import ROOT, hypercorn

PAGE = ROOT / "docs" / "howto" / "responses.md"
TEXT = PAGE.read_text("utf-8")
SOURCE = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.S))
#: What is asked, and below it what is answered.
TRANSCRIPT = re.compile(r"(?<=```text\n)(?:\$|>>>) .*?(?=```)", re.S)
#: Where the page says that the app is served.
PORT = 8000

#: What one command prints, given its words and the port.
Ask = Callable[[list[str], int], str]

#: What is another number each time.
VARYING = re.compile(
    r"""(?<=date:\ ).*|(?<=x-ratelimit-reset:\ )\d+|(?<=retry-after:\ )\d+|(?<=;t=)\d+
    |(?<="retry_after":\ )\d+|(?<=in\ )\d+(?=\ seconds)|(?<=until\ )\d+(?=\.)
    |(?<=content-length:\ )\d+""",
    re.VERBOSE | re.IGNORECASE,
)


def masked(text: str) -> str:
    """The text without what is another number each time."""
    return VARYING.sub("…", text)


@contextmanager
def served() -> Iterator[int]:
    """The page's app under Hypercorn, counting in memory; its port."""
    with tempfile.TemporaryDirectory() as folder:
        source = re.sub(r"redis://[^\"]*", "memory://", SOURCE)
        (Path(folder) / "documented.py").write_text(source, "utf-8")
        path = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
        with hypercorn(app="documented:app", env={"PYTHONPATH": path}) as port:
            yield port


def play(text: str, port: int, ask: Ask) -> str:
    """The page, with what its transcripts' commands print now."""
    return TRANSCRIPT.sub(lambda match: answers(match[0], port, ask), text)


def answers(transcript: str, port: int, ask: Ask) -> str:
    """A transcript's commands, each with what it prints now."""
    told = ""
    for line in re.findall(r"^(?:\$|>>>) .*", transcript, re.M):
        if line.startswith("$ curl "):
            answer = ask(shlex.split(line)[2:], port).rstrip("\n")
        else:
            answer = said(line.removeprefix(">>> await "), port)
        told += f"{line}\n{bare(answer)}\n"
    return told


def bare(text: str) -> str:
    """The text without blanks at the ends of its lines."""
    return re.sub(r"[ \t]+$", "", text, flags=re.M)


def by_curl(words: list[str], port: int) -> str:
    """What curl itself prints."""
    url = words[-1].replace(str(PORT), str(port))
    command = ["curl", "-q", "-sS", "--noproxy", "*", *words[:-1], url]
    done = subprocess.run(command, capture_output=True, check=True, timeout=20)
    return done.stdout.decode().replace("\r\n", "\n")


def by_hand(words: list[str], port: int) -> str:
    """What curl would print, for machines without it: the bytes that the server sends."""
    path = urlsplit(words[-1]).path
    fields = [word for word in words if ": " in word]
    if not any(field.startswith("Accept:") for field in fields):
        fields.append("Accept: */*")  # as curl
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *fields, "", ""]
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall("\r\n".join(lines).encode())
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    head, _, body = b"".join(parts).decode().replace("\r\n", "\n").partition("\n\n")
    head = re.sub(r"\nconnection: close", "", head, flags=re.I)  # we asked for it, curl does not
    return f"{head}\n\n{body}" if "-i" in words else body


def said(call: str, port: int) -> str:
    """What the page's websocket client prints."""
    names: dict[str, Any] = {"__name__": "documented"}
    exec(compile(re.sub(r"redis://[^\"]*", "memory://", SOURCE), PAGE.name, "exec"), names)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        asyncio.run(eval(call.replace(str(PORT), str(port)), names))
    return printed.getvalue().rstrip("\n")


if __name__ == "__main__":
    with served() as port:
        PAGE.write_text(play(TEXT, port, by_curl if shutil.which("curl") else by_hand), "utf-8")
