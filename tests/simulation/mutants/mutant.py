"""One seeded fault: texts of the package's source, and what stands there instead."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

#: The package's source.
SOURCE = Path(__file__).parents[3] / "src" / "quart_ratelimit"


@dataclass(frozen=True)
class Edit:
    """A text that stands once in a file, and its replacement."""

    file: str
    old: str
    new: str

    def is_applicable(self) -> bool:
        """Whether the text stands in the source, once."""
        return (SOURCE / self.file).read_text("utf-8").count(self.old) == 1


@dataclass(frozen=True)
class Mutant:
    """A fault that a programmer could make, or has made."""

    name: str
    #: What is wrong with it.
    what: str
    edits: tuple[Edit, ...]
    #: The model of the core that it is in, if there is one.
    model: str = ""

    def plant(self, folder: Path) -> None:
        """Copy the package's source to a folder, with this fault in it."""
        shutil.copytree(SOURCE, folder / SOURCE.name, ignore=shutil.ignore_patterns("__pycache__"))
        for edit in self.edits:
            path = folder / SOURCE.name / edit.file
            path.write_text(path.read_text("utf-8").replace(edit.old, edit.new), "utf-8")


def mutant(name: str, what: str, *edits: tuple[str, str, str], model: str = "") -> Mutant:
    """A mutant by its edits: file, old text, new text."""
    return Mutant(name, what, tuple(Edit(*edit) for edit in edits), model)
