"""Import, export, plan changes and the rotation of signing keys, against a scripted daemon."""

import json
import signal
import subprocess
import time

import pytest
from commandline import (
    BAD_DATA, NO_INPUT, OUTPUT, TOLLGATE, TRY_AGAIN, UNEXPECTED, script)
from test_cli_directory import ACME, AT, DAY, SIGNING


def organizations(count, name="x"):
    return [{"type": "organization"} | ACME | {"id": f"org{n}", "name": name}
            for n in range(count)]


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


class Directory:
    """Takes imports as the daemon does: each whole or not at all, what is there passed over."""

    def __init__(self, script):
        self.held, self.batches = [], []
        script.answers["directory.import"] = self.take

    def take(self, request):
        records = request["records"]
        self.batches.append(len(records))
        for place, record in enumerate(records):
            if record["name"] == "bad":
                return (18, f"records[{place}]: name: is bad")
            if any(one["id"] == record["id"] and one != record for one in self.held):
                return (17, f"records[{place}]: another organization has that id")
        new = [record for record in records if record not in self.held]
        self.held += new
        return {"created": len(new), "unchanged": len(records) - len(new)}


@pytest.fixture
def directory(script):
    return Directory(script)


def test_import_sends_batches_and_passes_over_what_is_there(script, directory, tmp_path):
    records = organizations(1_203)
    path = tmp_path / "records"
    path.write_text("\n" + lines(records).replace("\n", "\r\n", 3) + "\n  \n")
    said = script.cli("import", path)
    assert said.stdout == "1,203 records created, 0 were there already\n" and said.stderr == ""
    assert directory.held == records and max(directory.batches) <= 500
    assert len(directory.batches) < 20
    assert script.cli.json("import", "-", stdin=lines(records)) == {
        "created": 0, "unchanged": 1_203}
    # Without a line feed at the end; and nothing at all.
    script.cli("import", "-", stdin=lines(organizations(1_204)[1_203:]).rstrip())
    assert len(directory.held) == 1_204
    assert script.cli.json("import", "-") == {"created": 0, "unchanged": 0}
    script.cli.error("import", tmp_path / "none", code=NO_INPUT)
    script.cli.error("import", tmp_path, code=NO_INPUT)


def test_no_batch_is_longer_than_a_frame(script, directory):
    records = organizations(40, name="n" * 9_000)
    script.cli("import", "-", stdin=lines(records))
    assert directory.held == records and max(directory.batches) <= 7
    assert all(len(frame) <= 65_536 for frame in script.peer.frames)
    # A daemon may take less than that, and then closes the connection.
    script.answers["directory.import"] = lambda request: (
        (2, "frame too large") if len(request["records"]) > 2 else directory.take(request))
    script.cli("import", "-", stdin=lines(records + organizations(60)[40:]))
    assert directory.held == records + organizations(60)[40:]
    script.answers["directory.import"] = directory.take
    long = lines(organizations(63)[60:]) + json.dumps({"type": "user", "id": "y" * 70_000}) + "\n"
    said = script.cli.error("import", "-", stdin=long, code=BAD_DATA)
    assert "-:4: longer than" in said and "--from 4" in said


@pytest.mark.parametrize("fault", [0, 1, 499, 500, 501, 777])
def test_import_stops_at_the_line_at_fault_and_goes_on_from_there(script, directory, fault):
    records = organizations(778)
    records[fault]["name"] = "bad"
    said = script.cli.error("import", "-", stdin=lines(records), code=BAD_DATA)
    assert f"-:{fault + 1}: name: is bad" in said and "records[" not in said
    # All before it are there, and it says where to go on.
    assert directory.held == records[:fault]
    assert (f"--from {fault + 1}" in said) == (fault > 0)
    programs = script.cli("import", "-", "--json", stdin=lines(records), code=BAD_DATA)
    assert json.loads(programs.stderr)["next_line"] == fault + 1
    assert json.loads(programs.stderr)["status"] == "invalidValue"
    records[fault]["name"] = "good"
    script.cli("import", "-", "--from", fault + 1, stdin=lines(records))
    assert directory.held == records


def test_import_never_changes_what_is_there(script, directory):
    script.cli("import", "-", stdin=lines(organizations(3)))
    said = script.cli.error("import", "-", stdin=lines(organizations(3, name="y")), code=BAD_DATA)
    assert "-:1: another organization" in said
    assert directory.held == organizations(3)


FAULTS = [("{", "not JSON"), ("[1]", "an array"), ('{"a":1}', "type: is missing"),
          ('{"type":"usr"}', "type: is none of"), ('{"type":"user","type":"user"}', "twice"),
          ('{"type":"user","x":1.5}', "integer"), ('{"type":"user"}', "organization: is missing"),
          (json.dumps({"type": "organization"} | ACME | {"colour": "red"}), "colour: is not known")]


@pytest.mark.parametrize("line, words", FAULTS)
def test_a_line_that_is_no_record_is_named(script, directory, line, words):
    text = lines(organizations(2)) + line + "\n"
    said = script.cli.error("import", "-", stdin=text, code=BAD_DATA)
    assert "-:3: " in said and words in said
    assert directory.held == organizations(2)
    asked = len(script.calls)
    said = script.cli.error("import", "-", "--dry-run", stdin=text + line, code=BAD_DATA)
    assert "-:3: " in said and "-:4: " in said and len(script.calls) == asked
    # What stands before --from is not looked at.
    assert "-:3: " not in script.cli.error(
        "import", "-", "--dry-run", "--from", 4, stdin=text + line, code=BAD_DATA)


def test_a_dry_run_counts_and_imports_nothing(script):
    said = script.cli("import", "-", "--dry-run", stdin=lines(organizations(2))).stdout
    assert "nothing was imported" in said and script.calls == []
    assert script.cli.json("import", "-", "--dry-run", stdin=lines(organizations(2))) == {
        "records": {"organization": 2, "user": 0, "override": 0, "grant": 0, "key": 0,
                    "revocation": 0}}


def test_an_import_that_is_cut_off_says_where_to_go_on(script, directory):
    take, records = directory.take, organizations(1_200)
    answers = iter([take, take, lambda _: (22, "too many calls wait")])
    script.answers["directory.import"] = lambda request: next(answers)(request)
    said = script.cli("import", "-", stdin=lines(records), code=TRY_AGAIN).stderr
    begun = len(directory.held)
    assert 0 < begun < 1_200 and f"--from {begun + 1}" in said
    script.answers["directory.import"] = take
    script.cli("import", "-", "--from", begun + 1, stdin=lines(records))
    assert directory.held == records


def interrupted(script, *arguments, when):
    """Runs a command and interrupts it when `when` says so; its output and its errors."""
    process = subprocess.Popen(
        [TOLLGATE, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=script.cli.env, text=True)
    yield process
    deadline = time.monotonic() + 20
    while not when():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=20)
    assert process.returncode == TRY_AGAIN, errors
    yield out, errors


def test_an_interrupted_import_says_where_to_go_on(script, directory):
    run = interrupted(script, "import", "-", when=lambda: directory.batches)
    process = next(run)
    process.stdin.write(lines(organizations(600)))
    process.stdin.flush()  # It waits for more, which never comes.
    out, errors = next(run)
    begun = len(directory.held)
    assert out == "" and f"--from {begun + 1}" in errors


# MARK: export

def test_export_writes_lines_and_goes_on_behind_a_cursor(script):
    records = organizations(2_500)

    def answer(request):
        start = int(request.get("after", "0"))
        end = min(start + 160, len(records))
        return {"items": records[start:end], "next": str(end) if end < len(records) else None}

    script.answers["directory.export"] = answer
    made = script.cli("export")
    assert [json.loads(line) for line in made.stdout.splitlines()] == records
    assert made.stderr == "2,500 records exported\n" and script.last()["limit"] == 1_000
    assert script.cli("export", "--json").stderr == ""
    made = script.cli("export", "--after", "2000")
    assert [json.loads(line) for line in made.stdout.splitlines()] == records[2_000:]

    # Cut off, it says how to go on, and the two parts are the whole.
    script.answers["directory.export"] = lambda request: (
        (22, "busy") if request.get("after") == "800" else answer(request))
    first = script.cli("export", "--json", code=TRY_AGAIN)
    said = json.loads(first.stderr)
    assert said["after"] == "800" and said["records"] == 800
    assert "tollgate export --after 800 >> FILE" in said["next"]
    script.answers["directory.export"] = answer
    rest = script.cli("export", "--after", said["after"])
    assert [json.loads(line) for line in (first.stdout + rest.stdout).splitlines()] == records
    script.answers["directory.export"] = {"items": [], "next": None}
    assert script.cli("export").stdout == ""
    script.answers["directory.export"] = {"items": [], "next": "x"}
    script.cli("export", code=UNEXPECTED)


def test_an_interrupted_export_says_how_to_go_on(script):
    def answer(request):
        start = int(request.get("after", "0"))
        return {"items": organizations(1), "next": str(start + 1)}

    script.answers["directory.export"] = answer
    run = interrupted(script, "export", when=lambda: len(script.calls) > 3)
    next(run)
    out, errors = next(run)
    assert f"--after {len(out.splitlines())} >> FILE" in errors


def test_an_export_that_cannot_be_written_says_so(script):
    script.answers["directory.export"] = {"items": organizations(9), "next": None}
    with open("/dev/full", "w") as full:
        done = subprocess.run([TOLLGATE, "export"], stdout=full, stderr=subprocess.PIPE, text=True,
                              env=script.cli.env)
    assert done.returncode == OUTPUT and "No space left" in done.stderr


def test_progress_is_for_terminals(script, directory, tmp_path):
    path = tmp_path / "records"
    path.write_text(lines(organizations(1_000)))
    sent, code = script.cli.typed("", "import", path)
    assert code == 0 and "records (" in sent and "% read" in sent and "\x1b[K" in sent
    script.answers["directory.export"] = {"items": organizations(1), "next": "1"}
    answers = iter([{"items": organizations(1), "next": "1"}, {"items": [], "next": None}])
    script.answers["directory.export"] = lambda _: next(answers)
    sent, code = script.cli.typed("", "export")
    assert code == 0 and "1 records\r" in sent.replace("\x1b[K", "")


# MARK: plans

CHANGE = {
    "organization": ACME, "effective_at": AT,
    "preview": {
        "from": "free_tier", "to": "pro_tier", "mode": "carry", "effective_at": AT,
        "permissions_lost": [], "permissions_gained": ["can_use_gpt4o"],
        "limits": [
            {"name": "daily", "kind": "quota", "scope": "user", "meter": "calls", "before": 1_000,
             "after": 50},
            {"name": "burst", "kind": "rate_limit", "scope": "user", "meter": "calls",
             "before": None, "after": 5}],
        "over": [{"user": "ada", "limit": "daily", "meter": "calls", "used": 77,
                  "limit_after": 50, "until_at": AT + DAY},
                 {"user": None, "limit": "total", "meter": "calls", "used": 9, "limit_after": 5,
                  "until_at": None}],
        "over_count": 12}}


def test_a_plan_change_shows_before_after_and_who_is_over(script):
    script.answers["org.change_plan"] = CHANGE
    said = script.cli("org", "change-plan", "acme", "pro_tier", "--preview").stdout
    assert script.last() == {"organization": "acme", "plan": "pro_tier", "mode": "carry",
                             "when": "now", "preview": True}
    for words in ("acme: free_tier → pro_tier", "can_use_gpt4o", "nothing was changed",
                  "over the new limits: 12", "and 10 more", "2027-01-01T00:00:00Z", "for good",
                  "(organization)"):
        assert words in said, words
    rows = [line.split() for line in said.splitlines()]
    assert ["daily", "quota", "user", "calls", "1000", "50"] in rows
    assert ["burst", "rate_limit", "user", "calls", "-", "5"] in rows
    said = script.cli("org", "change-plan", "acme", "pro_tier", "--mode", "reset", "--at",
                      "period-end").stdout
    assert script.last() == {"organization": "acme", "plan": "pro_tier", "mode": "reset",
                             "when": "period_end"}
    assert "nothing was changed" not in said
    assert script.cli.json("org", "change-plan", "acme", "pro_tier") == CHANGE
    change = CHANGE["preview"] | {"over": [], "over_count": 0, "from": None, "limits": []}
    script.answers["org.change_plan"] = CHANGE | {"preview": change}
    said = script.cli("org", "change-plan", "acme", "pro_tier").stdout
    assert "acme: no plan → pro_tier" in said and "nobody is over" in said


# MARK: signing keys

class SigningKeys:
    """The daemon's signing keys, k0 the one that signs."""

    def __init__(self, script):
        self.keys = {"k0": "signing"}
        script.answers |= {"signing_key.list": self.list, "signing_key.add": self.add,
                           "signing_key.promote": self.promote}

    def entry(self, key):
        state = self.keys[key]
        return SIGNING | {"id": key, "state": state,
                          "retirable_at": AT if state == "retiring" else None}

    def list(self, _):
        return {"items": [self.entry(key) for key in self.keys]}

    def add(self, request):
        key = request.get("id", "made")
        self.keys[key] = "verifying"
        return {"signing_key": self.entry(key)}

    def promote(self, request):
        for key, state in self.keys.items():
            if state == "signing":
                self.keys[key] = "retiring"
        self.keys[request["id"]] = "signing"
        return {"signing_key": self.entry(request["id"])}


def test_rotation_adds_then_promotes_and_tells_what_to_retire_when(script):
    keys = SigningKeys(script)
    said = script.cli("signing-key", "rotate")
    assert keys.keys == {"k0": "retiring", "made": "signing"}
    order = [call["call"] for call in script.calls if call["call"] != "signing_key.list"]
    assert order == ["signing_key.add", "signing_key.promote"]
    assert "tollgate signing-key retire k0" in said.stdout and "2026-12-31T00:00:00Z" in said.stdout
    assert [line[:2] for line in said.stderr.splitlines()] == ["1.", "2.", "3."]
    shown = script.cli.json("signing-key", "rotate", "k2")
    assert shown == {"signing_key": "k2", "to_retire": [
        {"id": "k0", "retirable_at": AT}, {"id": "made", "retirable_at": AT}]}


def test_an_interrupted_rotation_goes_on_with_the_key_it_added(script):
    keys = SigningKeys(script)
    script.answers["signing_key.promote"] = (22, "busy")
    script.cli("signing-key", "rotate", "k1", code=TRY_AGAIN)
    assert keys.keys == {"k0": "signing", "k1": "verifying"}
    script.answers["signing_key.promote"] = keys.promote
    assert "going on with it" in script.cli("signing-key", "rotate").stderr
    assert keys.keys == {"k0": "retiring", "k1": "signing"}
    # A daemon that does not load the key is not told to sign with it.
    script.answers["signing_key.add"] = lambda _: {"signing_key": SIGNING | {"id": "k9"}}
    script.cli.error("signing-key", "rotate", "k9", code=UNEXPECTED)
    assert keys.keys["k1"] == "signing"
