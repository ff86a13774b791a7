"""YAML text as a tree in which every value knows its line and column.

Scalars mean what PyYAML's safe loader makes of them; nothing else can be constructed. Keys given twice are refused.
`${NAME}` and `${NAME:-default}` are replaced in values, after parsing, so that no value of the environment can change
the structure; `$${` stands for a literal `${`. An unquoted value is read again after replacement: `${PORT:-8787}` is
a number.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

MAX_VALUES = 100_000
"""More than any file needs; aliases could otherwise multiply a short text without end."""

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class Problems:
    """Collects findings and warnings as lines `FILE:LINE:COLUMN: path: what is wrong`."""

    __slots__ = ("_findings", "_warnings", "file")

    def __init__(self, file: str) -> None:
        self.file = file
        self._findings: list[tuple[int, int, str]] = []
        self._warnings: list[tuple[int, int, str]] = []

    def find(self, at: tuple[int, int], path: str, message: str) -> None:
        """Adds what makes the file unusable. `at` is (line, column), both from 1."""
        self._findings.append((*at, self._text(path, message)))

    def warn(self, at: tuple[int, int], path: str, message: str) -> None:
        """Adds what is only odd."""
        self._warnings.append((*at, self._text(path, message)))

    @property
    def findings(self) -> list[str]:
        """The lines in the order of the file, each once."""
        return self._lines(self._findings)

    @property
    def warnings(self) -> list[str]:
        """The same for warnings."""
        return self._lines(self._warnings)

    def _lines(self, entries: list[tuple[int, int, str]]) -> list[str]:
        return [f"{self.file}:{line}:{column}: {text}" for line, column, text in sorted(set(entries))]

    @staticmethod
    def _text(path: str, message: str) -> str:
        return f"{path}: {message}" if path else message


class Value:
    """One value and where it stands. `data` is a scalar, a list of `Value` or a dict of `Value` by key.

    `text` is a scalar as written, after replacement; `replaced` says that there was one, `broken` that it could not be
    made (which is reported already). `keys` has the place of each key of a mapping.
    """

    __slots__ = ("at", "broken", "data", "keys", "replaced", "text")

    def __init__(
        self, at: tuple[int, int], data: Any, text: str = "", *, replaced: bool = False, broken: bool = False
    ) -> None:
        self.at = at
        self.broken = broken
        self.data = data
        self.text = text
        self.replaced = replaced
        self.keys: dict[str, tuple[int, int]] = {}

    def get(self, key: str) -> Value | None:
        """The value of a mapping's key, or None."""
        return self.data.get(key) if isinstance(self.data, dict) else None

    def items(self) -> list[Value]:
        """The values of a list; empty for anything else."""
        return self.data if isinstance(self.data, list) else []

    def walk(self, path: tuple[str | int, ...]) -> Value:
        """The value at a path below, or the nearest one above it that exists."""
        at = self
        for step in path:
            below = at.get(step) if isinstance(step, str) else None
            if isinstance(step, int) and step < len(at.items()):
                below = at.items()[step]
            if below is None:
                return at
            at = below
        return at


def parse(text: str, problems: Problems, environ: Mapping[str, str], digest: hashlib._Hash) -> Value | None:
    """The root value, or None when the text is empty or no YAML (then `problems` has a finding).

    What replaces a reference is added to `digest`, so that it changes with the environment too.
    """
    try:
        # The safe loader, in C: it constructs plain values and refuses every other tag.
        loader = yaml.CSafeLoader(text)
    except yaml.reader.ReaderError as error:
        problems.find(
            _place(text, error.position), "", f"the character U+{ord(str(error.character)):04X} is not allowed"
        )
        return None
    try:
        node = loader.get_single_node()
        return None if node is None else _Builder(loader, problems, environ, digest).value(node, "")
    except yaml.MarkedYAMLError as error:
        problems.find(*_syntax(error, text))
    except yaml.reader.ReaderError as error:
        problems.find(_place(text, error.position), "", "a character is not allowed here")
    except RecursionError:
        problems.find((1, 1), "", "it is nested too deeply")
    finally:
        loader.dispose()
    return None


def _place(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


def _syntax(error: yaml.MarkedYAMLError, text: str) -> tuple[tuple[int, int], str, str]:
    mark = error.problem_mark or error.context_mark
    at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.splitlines()
    line = lines[at[0] - 1] if at[0] <= len(lines) else ""
    advice = ""
    if "\t" in line[: max(at[1], 1)]:
        advice = "; indent with spaces, not tabs"
    elif "${" in line and re.search(r"[{\[].*\$\{", line):
        advice = '; inside { } and [ ] a reference needs quotes: "${NAME}"'
    context = f" ({error.context})" if error.context else ""
    return at, "", f"no valid YAML: {error.problem or error}{context}{advice}"


class _Builder:
    """Turns composed nodes into values. One per file."""

    __slots__ = ("_above", "_count", "_digest", "_environ", "_loader", "_problems", "_seen")

    def __init__(
        self, loader: yaml.CSafeLoader, problems: Problems, environ: Mapping[str, str], digest: hashlib._Hash
    ) -> None:
        self._loader = loader
        self._problems = problems
        self._environ = environ
        self._digest = digest
        self._count = 0
        self._above: set[int] = set()
        self._seen: set[int] = set()

    def value(self, node: yaml.Node, path: str) -> Value:
        """The value of one node. Raises `yaml.MarkedYAMLError` for what no file of ours may contain."""
        self._count += 1
        if self._count > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem="more values than any configuration has", problem_mark=node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._above:
            raise yaml.MarkedYAMLError(problem="an alias that contains itself", problem_mark=node.start_mark)
        self._above.add(id(node))
        value = Value(_at(node), None)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            value.data = dict(self._pairs(node, path, value))
        elif isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            value.data = [self.value(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        else:
            raise yaml.MarkedYAMLError(problem=f"the tag {node.tag!r} is not allowed", problem_mark=node.start_mark)
        self._above.discard(id(node))
        return value

    def _pairs(self, node: yaml.MappingNode, path: str, value: Value) -> Iterator[tuple[str, Value]]:
        if id(node) not in self._seen:
            self._seen.add(id(node))
            self._refuse_duplicates(node, path)
            # Merge keys (`<<: *defaults`) become plain pairs in front of the mapping's own.
            self._loader.flatten_mapping(node)
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            value.keys[key.value] = _at(key)
            yield key.value, self.value(item, f"{path}.{key.value}" if path else key.value)

    def _refuse_duplicates(self, node: yaml.MappingNode, path: str) -> None:
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in first:
                where = f"{path}.{key.value}" if path else key.value
                self._problems.find(_at(key), where, f"given twice; the first is on line {first[key.value]}")
            first.setdefault(key.value, key.start_mark.line + 1)

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Value:
        text = str(node.value)
        at = _at(node)
        if "${" not in text or node.tag != "tag:yaml.org,2002:str":
            try:
                return Value(at, self._loader.construct_object(node), text)
            except yaml.MarkedYAMLError as error:
                self._problems.find(at, path, f"no plain value: {error.problem}")
            except ValueError:
                self._problems.find(at, path, "a date or number that cannot be")
            return Value(at, None, broken=True)
        replacement = self._replace(text, at, path)
        if replacement is None:
            return Value(at, None, broken=True)
        return Value(at, self._again(node, replacement), replacement, replaced=True)

    def _again(self, node: yaml.ScalarNode, text: str) -> Any:
        """What the text means in the place of `node`: itself where that is quoted, else whatever YAML reads in it."""
        if node.style:
            return text
        tag = self._loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        try:
            return self._loader.construct_object(yaml.ScalarNode(tag, text, node.start_mark, node.end_mark))
        except (ValueError, yaml.YAMLError):
            return text

    def _replace(self, text: str, at: tuple[int, int], path: str) -> str | None:
        faults: list[str] = []

        def one(match: re.Match[str]) -> str:
            if match[1] is None:
                return "${"
            reference = _NAME.fullmatch(match[1])
            if reference is None or not match[2]:
                faults.append("a reference is written ${NAME} or ${NAME:-default}; for a literal ${ write $${")
                return ""
            name, default = reference[1], reference[2]
            found = self._environ.get(name)
            if default is not None and not found:
                found = default
            if found is None:
                faults.append(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
                return ""
            self._digest.update(f"{name}={len(found)}:{found}".encode(errors="surrogateescape"))
            return found

        replacement = _REFERENCE.sub(one, text)
        for fault in faults:
            self._problems.find(at, path, fault)
        return None if faults else replacement


def _at(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
