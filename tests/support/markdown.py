"""The code blocks and tables of README.md and docs/, as a reader sees them."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .serving import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: A fence and what it holds; the word after the language says more of it.
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^ *```[ \t]*$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    #: Of its first line of code, in the page.
    line: int
    language: str
    #: "before": code of another library, which is shown beside ours.
    word: str
    source: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def makes_an_app(self) -> bool:
        """Whether it is a whole Quart app."""
        return any(
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func).endswith("Quart")
            for node in ast.parse(self.source).body
        )

    @property
    def imports(self) -> set[str]:
        """The packages that it imports."""
        found = set()
        for node in ast.walk(ast.parse(self.source)):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
        return found


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text("utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent, info, source = match.groups()
        language, _, word = info.strip().partition(" ")
        line = text.count("\n", 0, match.start(3)) + 1
        source = re.sub(f"^{indent}", "", source, flags=re.M)
        found.append(Block(page, line, language, word, source))
    return found


ALL = [block for page in PAGES for block in blocks(page)]
PYTHON = [block for block in ALL if block.language == "python"]
#: Whole apps, which are run.
APPS = [block for block in PYTHON if block.word != "before" and block.makes_an_app]


def with_stores(source: str, redis_url: str) -> str:
    """The block with a Redis that is there for its single Redis, and memory for the others."""
    source = re.sub(r"(?:redis|valkey)://[^\"']*", redis_url, source)
    return re.sub(r"(?:rediss|unix|[a-z]+\+[a-z]+)://[^\"']*", "memory://", source)


def load(block: Block, redis_url: str) -> dict[str, Any]:
    """Run a block; the names that it leaves."""
    names: dict[str, Any] = {"__name__": "documented"}
    code = "\n" * (block.line - 1) + with_stores(block.source, redis_url)
    exec(compile(code, str(block.page.relative_to(ROOT)), "exec"), names)
    return names


def table(text: str) -> list[list[str]]:
    """The cells below a table's head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
