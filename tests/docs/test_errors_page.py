"""The page of errors and warnings has all of our classes, all of their messages, and only messages that the source has.

Messages are taken from the source: string literals of the Python files and of `rust/py/src/error.rs`, a placeholder wherever a value is
put in.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "spanmask"
PAGE = ROOT / "docs" / "reference" / "errors-and-warnings.md"
VALUE = "\0"  # a value that is put into a message
# Functions whose f-strings are warned with elsewhere, as a value.
MAKE_WARNINGS = {"notes", "describe_unknown", "describe_mismatch", "describe_uncovered", "uncovered_warning"}
PASS_WARNINGS = {
    "encode.py": 1,
    "collators/base.py": 2,
    "chat/template/derive.py": 1,
    "integrations/answers/messages.py": 1,
}  # Calls of `warn` with what those return


def sources():
    return [file for file in sorted(PACKAGE.rglob("*.py")) if "reference" not in file.relative_to(PACKAGE).parts]


@cache
def tree_of(file):
    return ast.parse(file.read_text())


def text_of(node):
    """A string expression, with `VALUE` for what is put in; None if it is not such an expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{\w*(![rsa])?\}", VALUE, node.value)  # a text for `str.format`
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else VALUE for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text_of(node.left) or VALUE) + (text_of(node.right) or VALUE)
    return None


@cache
def python_messages():
    return {text for file in sources() for node in ast.walk(tree_of(file)) if (text := text_of(node))}


@cache
def rust_messages():
    """The messages of `error.rs`, each with its error: `Error::Name` before `=>`, or a call of `...Error::new_err`."""
    code = (ROOT / "rust" / "py" / "src" / "error.rs").read_text()
    found = {}
    for literal in re.finditer(r'"((?:[^"\\]|\\.)*)"', code, re.DOTALL):
        text = re.sub(r"\\\n\s*", "", literal[1]).replace('\\"', '"')
        names = re.findall(r"Error::(\w+) \{[^}]*\} =>", code[: literal.start()])
        found[re.sub(r"\{[^}]*\}", VALUE, text)] = names[-1] if names else ""
    return found


def called(node):
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def our_messages(kinds):
    """The messages of errors of these classes: (message, file)."""
    for file in sources():
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.Call) and called(node) in kinds and node.args:
                first = node.args[0]
                text = text_of(first)
                if text is None and isinstance(first, ast.Call):  # NO_OFFSETS.format(...)
                    text = text_of(constant(file, first.func.value.id))
                assert text is not None, f"{file}:{node.lineno}: a message that this test cannot read"
                yield text, file


def constant(file, name):
    return next(node.value for node in ast.walk(tree_of(file)) if isinstance(node, ast.Assign) and node.targets[0].id == name)


def warned():
    """The messages of warnings of our classes."""
    passed = {}
    for file in sources():
        for function in ast.walk(tree_of(file)):
            if not isinstance(function, ast.FunctionDef):
                continue
            if function.name in MAKE_WARNINGS:
                yield from (
                    text for node in ast.walk(function) if isinstance(node, ast.JoinedStr) and ": " in (text := text_of(node))
                )
            for node in ast.walk(function):
                if not (isinstance(node, ast.Call) and called(node) == "warn"):
                    continue
                text = text_of(node.args[0])
                if text is None:  # a name, assigned in the same function or made by one of MAKE_WARNINGS
                    values = [
                        assign.value
                        for assign in ast.walk(function)
                        if isinstance(assign, ast.Assign) and getattr(assign.targets[0], "id", None) == node.args[0].id
                    ]
                    text = text_of(values[0]) if values else None
                if text is None:
                    name = str(file.relative_to(PACKAGE))
                    passed[name] = passed.get(name, 0) + 1
                else:
                    yield text
    assert passed == PASS_WARNINGS


@cache
def quoted():
    """The messages on the page: the code at the beginning of a list item, and those that follow it before the colon."""
    found = []
    for item in re.findall(r"^- (`.*?)(?=^- |^#|^$|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        named = re.match(r"`[^`]+`(?:,\s+`[^`]+`)*", item)
        found += re.findall(r"`([^`]+)`", named[0])
    return found


def misses(messages, quotes):
    """The messages that no quotation covers. Those that hardly have words of their own are left out, and such quotations cover nothing."""
    patterns = [pattern(quote) for quote in quotes if has_words(quote)]
    return [text for text in messages if has_words(text) and not any(one.match(text.replace("\n", " ")) for one in patterns)]


def pattern(quote):
    """A quotation, in which `...` is anything, as the beginning of a line."""
    return re.compile("^" + "[^\n]*".join(map(re.escape, quote.split("..."))), re.MULTILINE)


def has_words(text):
    return len(re.findall("[a-z]", text)) >= 8


def test_it_names_the_classes():
    classes = {
        node.name
        for file in sources()
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.ClassDef)
        and any(getattr(base, "id", "").endswith(("Error", "Exception", "Warning")) for base in node.bases)
    }
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == classes


def test_messages_on_the_page_are_in_the_source():
    everything = "\n".join(text.replace("\n", " ") for text in (*python_messages(), *rust_messages()))
    assert len(quoted()) > 90
    assert [quote for quote in quoted() if not pattern(quote).search(everything)] == []


def test_it_has_all_warnings():
    messages = set(warned())
    assert len(messages) >= 19
    assert misses(messages, quoted()) == []


@pytest.mark.parametrize("kind", ["ChatFormatError", "SentinelError", "DataError"])
def test_it_has_all_messages_of_our_errors(kind):
    section = re.search(rf"^## {kind}$.*?(?=^## )", PAGE.read_text(), re.MULTILINE | re.DOTALL)[0]
    here = [quote for quote in quoted() if f"`{quote}`" in section]
    messages = [text for text, _ in our_messages({kind})]
    if kind == "SentinelError":
        messages += [
            text
            for text, name in rust_messages().items()
            if name in ("Sentinel", "Exhausted", "StraySentinel", "BrokenDocument") and ": row" in text
        ]
    assert len(messages) >= 10
    assert misses(messages, here) == []


def test_each_family_is_the_beginning_of_a_message():
    table = PAGE.read_text().partition("| begins with |")[2].partition("\n\n")[0]
    names = re.findall(r"`([^`\]]+:)`", table)
    assert len(names) > 20
    everything = "".join((*(file.read_text() for file in sources()), *rust_messages()))
    for name in names:
        word = name.removesuffix(":").removeprefix("train ").removeprefix("eval ")
        assert word in everything, name
