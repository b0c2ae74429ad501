"""Words that CONTRIBUTING.md's rules of writing replace, and where prose still has them."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

#: The expression, and what to write instead.
REPLACED = {
    r"dear(er|est)?": "expensive, high",
    r"amid|midst": "during, in the middle of",
    r"anew": "again, from zero",
    r"at hand": "available, or the thing's name",
    r"lest": "so that ... not",
    r"in vain": "without success",
    r"beside": "next to, in addition to",
    r"(some|any|no|every)body": "the client, a caller, a user, no client",
    r"afresh|thrice": "from zero, again, three times",
    r"so many": "this many, or the parameter's name",
    r"but for|vouch(es)?": "except, confirm",
    r"alike|(its|the) like": "the same, in the same way, similar",
    r"whom": "the client that is counted",
    r"(?<!there )(is|are|was|were) no"
    r"(?! (longer|more|less|one|later|earlier)\b)": "is not a, must be a",
    r"(that|those) of": "the noun again",
    r"of which": "two sentences",
    r"ask(s|ed|ing)?": "call, request, look up",
    r"t(ell|ells|old|elling)": "return, report, tell apart: distinguish",
    r"(bear|bears|bore|borne)": "have, carry",
    r"hand(s|ed)? on": "pass",
    r"lone|robbed|patient": "single, ...",
    r"(bytes|units|decisions|connections|milliseconds|counters?)"
    r" an? (?!second|minute|hour|day|week|month|year|time|moment)\w+": "per",
}
FOUND = re.compile(rf"\b(?:{'|'.join(REPLACED)})\b", re.IGNORECASE)

#: What is not prose: fenced code, indented code, inline code, links' targets, comments of HTML.
NOT_PROSE = re.compile(
    r"^ *```.*?^ *```|^ {4,}\S.*?$|``.+?``|`[^`]*`|\]\([^)]*\)|<!--.*?-->|https?://\S+", re.M | re.S
)


def in_page(path: Path) -> list[str]:
    """The words that a page of Markdown has, in order, with their line."""
    text = path.read_text("utf-8")
    blank = NOT_PROSE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    return [f"{blank.count(chr(10), 0, m.start()) + 1}: {m[0]}" for m in FOUND.finditer(blank)]


def in_module(path: Path) -> list[str]:
    """The words that a module's docstrings, comments and texts have, with their line."""
    source = path.read_text("utf-8")
    found = []
    for line, text in sorted({*comments(source), *texts(source)}):
        blank = re.sub(r"``.+?``|`[^`]*`", "", text)
        found += [f"{line}: {match[0]}" for match in FOUND.finditer(blank)]
    return found


def comments(source: str) -> Iterator[tuple[int, str]]:
    """The comments of a module, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def texts(source: str) -> Iterator[tuple[int, str]]:
    """The texts of more than one word: docstrings, errors, lines of the log, and so on."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
