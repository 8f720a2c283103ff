"""System calls of a daemon as strace wrote them down (-f -y), call by call.

Lines stand in the order in which strace let the threads go on: what one thread did because of
another stands behind it. Of each call it is known before which line it had begun, and by which it
had returned."""

import codecs
import contextlib
import dataclasses
import re
import subprocess

from hardening import as_root, eventually
from strace import all_traced

# What the order is about; "?": not every machine has it.
CALLS = ("recvfrom,sendto,pwrite64,fdatasync,fsync,openat,?unlink,?unlinkat,?rename,?renameat,"
         "?renameat2")
# What the daemon reads at once; what it sends at once is to be no longer.
TEXT_BYTES = 65_536
_LINE = re.compile(r"(\d+) +(.*)$", re.S)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)$", re.S)
_BEGUN = re.compile(r"(\w+)\((.*)$", re.S)
_RETURNED = re.compile(r"^(.*)\)\s+= (-?\d+|\?)(.*)$", re.S)
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"(\.\.\.)?')
_FILE = re.compile(r"\d+<([^>]*)>(\(deleted\))?")
# The second: where the trace ends.
UNFINISHED = re.compile(r" <(?:unfinished|detached) \.\.\.>$")


@dataclasses.dataclass
class Call:
    """One call of one thread; `result` is none where it had not returned by the last line."""

    thread: str
    name: str
    arguments: str
    begun: int
    result: "int | None" = None
    note: str = ""

    @property
    def is_good(self):
        return self.result is not None and self.result >= 0

    def texts(self):
        """The strings among its arguments, as bytes."""
        return [codecs.escape_decode(text.encode())[0]
                for text, _ in _TEXT.findall(self.arguments)]

    @property
    def is_cut(self):
        return any(more for _, more in _TEXT.findall(self.arguments))

    @property
    def file(self):
        """Path of what its first argument, a descriptor, is open on; of a socket its number."""
        found = _FILE.match(self.arguments)
        return found and found.group(1) + (" (deleted)" if found.group(2) else "")


def events(lines):
    """(line, whether it begins, call): each call twice, unless it never returned."""
    open_calls, found = {}, []
    for number, line in enumerate(lines):
        match = _LINE.match(line)
        if not match or match.group(2)[:3] in ("---", "+++"):
            continue
        thread, text = match.groups()
        resumed = _RESUMED.match(text)
        if resumed:
            call = open_calls.pop(thread, None)
            if call is None:
                # Begun before the trace.
                continue
            rest = resumed.group(2)
        else:
            begun = _BEGUN.match(text)
            if begun is None:
                raise ValueError(f"line {number + 1}: not a call: {line[:200]}")
            call, rest = Call(thread, begun.group(1), "", number), begun.group(2)
            if UNFINISHED.search(rest):
                call.arguments = UNFINISHED.sub("", rest)
                open_calls[thread] = call
                found.append((number, True, call))
                continue
        returned = _RETURNED.match(rest)
        if returned is None:
            raise ValueError(f"line {number + 1}: no result: {line[:200]}")
        call.arguments += returned.group(1)
        call.result = None if returned.group(2) == "?" else int(returned.group(2))
        call.note = returned.group(3).strip()
        if not resumed:
            found.append((number, True, call))
        found.append((number, False, call))
    return found


@contextlib.contextmanager
def traced(daemon, log, *, inject=()):
    """Writes the daemon's calls to `log`, all of its threads; `inject`: arguments for -e."""
    command = ["strace", "-f", "-q", "-y", "-s", str(TEXT_BYTES), "-p", str(daemon.process.pid),
               "-o", str(log), "-e", f"trace={CALLS}"]
    for what in inject:
        command += ["-e", f"inject={what}"]
    tracer = subprocess.Popen(as_root(command), stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: all_traced(f"/proc/{daemon.process.pid}/task"))
        yield
    finally:
        tracer.terminate()
        tracer.communicate(timeout=20)
