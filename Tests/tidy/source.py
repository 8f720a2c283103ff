"""Swift and C as a tidy test sees them: comments and texts blanked, functions found."""

import dataclasses
import re

_BODY_STOPS = {"func", "var", "let", "init", "case", "struct", "enum", "class", "extension", "}"}
_DECLARATION = re.compile(r"\b(?:func\s+(?P<func>[\w]+|[-+*/%<>=!&|^~]+)|(?P<init>init[?]?"
                          r"|deinit|subscript)(?=\s*[(<{])|var\s+(?P<var>\w+)\s*:[^={\n]*(?=\{))")
_C_FUNCTION = re.compile(r"^[A-Za-z_][\w \t*]*?\b(\w+)\([^;{}]*\)\s*\{", re.M)


@dataclasses.dataclass(frozen=True)
class Function:
    """A function, initializer, subscript or computed variable; lines count from 1, inclusive."""

    name: str
    start: int
    end: int

    @property
    def lines(self) -> int:
        return self.end - self.start + 1


def blanked(text: str) -> str:
    """`text` without what comments and texts say: same length, same lines, quotes kept.

    Code in interpolations stays."""
    blanker = _Blanker(text)
    blanker.code(0)
    return "".join(blanker.out)


class _Blanker:
    """Each method begins at an offset and gives the one after what it has read."""

    def __init__(self, text: str) -> None:
        self.text, self.end, self.out = text, len(text), list(text)

    def blank(self, start: int, stop: int) -> int:
        for index in range(start, min(stop, self.end)):
            if self.out[index] != "\n":
                self.out[index] = " "
        return stop

    def comment(self, at: int) -> int:
        if self.text.startswith("//", at):
            stop = self.text.find("\n", at)
            return self.blank(at, self.end if stop < 0 else stop)
        depth, stop = 1, at + 2
        while depth and stop < self.end:
            mark = self.text[stop:stop + 2]
            depth += {"/*": 1, "*/": -1}.get(mark, 0)
            stop += 2 if mark in ("/*", "*/") else 1
        return self.blank(at, stop)

    def quoted(self, at: int) -> int:
        hashes = 0
        while self.text[at + hashes] == "#":
            hashes += 1
        quote = '"""' if self.text.startswith('"""', at + hashes) else '"'
        close, escape = quote + "#" * hashes, "\\" + "#" * hashes
        at += hashes + len(quote)
        while at < self.end and not self.text.startswith(close, at):
            if self.text.startswith(escape + "(", at):
                at = self.code(self.blank(at, at + len(escape)) + 1, nested=True)
            elif self.text.startswith(escape, at):
                at = self.blank(at, at + len(escape) + 1)
            else:
                at = self.blank(at, at + 1)
        return at + len(close)

    def code(self, at: int, nested: bool = False) -> int:
        depth = 1
        while at < self.end and depth:
            if self.text.startswith(("//", "/*"), at):
                at = self.comment(at)
            elif re.match(r'#*"', self.text[at:at + 4]):
                at = self.quoted(at)
            elif self.text.startswith("'\"'", at):
                at += 3
            else:
                depth += {"(": 1, ")": -1}.get(self.text[at], 0) if nested else 0
                at += 1
        return at


def _matching(code: str, at: int) -> int:
    """The offset of the bracket that closes the one at `at`."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    open_, close = code[at], pairs[code[at]]
    depth = 0
    for index in range(at, len(code)):
        if code[index] == open_:
            depth += 1
        elif code[index] == close:
            depth -= 1
            if depth == 0:
                return index
    return len(code) - 1


def _body(code: str, at: int) -> int:
    """Where the body of the function whose name ends at `at` opens, or -1 for a requirement."""
    while at < len(code):
        if code[at] == "{":
            return at
        if code[at] == "(":
            at = _matching(code, at) + 1
            continue
        word = re.match(r"[A-Za-z]\w*|\}", code[at:])
        if word and word.group() in _BODY_STOPS:
            return -1
        at += len(word.group()) if word else 1
    return -1


def swift_functions(code: str) -> list[Function]:
    """Every function with a body in blanked code."""
    found = []
    for match in _DECLARATION.finditer(code):
        if code[match.start() - 1:match.start()] == ".":
            continue
        opening = _body(code, match.end())
        if opening < 0:
            continue
        name = match.group("func") or match.group("init") or match.group("var")
        found.append(Function(name.rstrip("?"), code.count("\n", 0, match.start()) + 1,
                              code.count("\n", 0, _matching(code, opening)) + 1))
    return found


def c_functions(code: str) -> list[Function]:
    """Every function defined at the left margin of blanked C."""
    found = []
    for match in _C_FUNCTION.finditer(code):
        opening = match.end() - 1
        found.append(Function(match.group(1), code.count("\n", 0, match.start()) + 1,
                              code.count("\n", 0, _matching(code, opening)) + 1))
    return found


def enclosing(functions: list[Function], line: int) -> str:
    """The name of the innermost function around `line`, or `-`."""
    around = [function for function in functions if function.start <= line <= function.end]
    return min(around, key=lambda function: function.lines).name if around else "-"
