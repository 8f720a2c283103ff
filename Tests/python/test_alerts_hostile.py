"""`tollgate alerts deliver` where its surroundings are not as it would have them: files in the
spool that are no alerts, commands that do not end as they should, an end in their midst."""

import json
import os
import signal
import subprocess

import pytest
from commandline import TOLLGATE
from hardening import eventually
from test_alerts import told
from test_alerts_deliver import Receiver, alive, delivering, fire, hook, waiting


def spool(made):
    return made.place.alerts / "spool"


def once(made, code=0, **more):
    done = subprocess.run(
        [TOLLGATE, "alerts", "deliver", "--once", "-c", str(made.policy)], timeout=60,
        capture_output=True, text=True, check=False, **more)
    assert done.returncode == code, done.stderr
    return done.stderr


def command(script, timeout="20s"):
    """A sink that runs a shell script, in which {} is the place."""
    def sinks(place):
        program = place.path / "page"
        program.write_text("#!/bin/sh\n" + script.replace("{}", str(place.path)))
        program.chmod(0o755)
        return {"page": {"kind": "command", "command": [str(program)], "timeout": timeout}}
    return sinks


# MARK: files

def directory(file):
    file.mkdir()


def link(file):
    file.symlink_to("/etc/hostname")


def large(file):
    file.write_bytes(b" " * (65 << 10))


def torn(file):
    file.write_text('{"id":1')


@pytest.mark.parametrize("make", [directory, link, large, torn])
def test_what_is_no_alert_is_set_aside_and_holds_none_back(make):
    receiver = Receiver()
    with delivering(hook(receiver), starts=False) as (made, _):
        fire(made, 1)
        eventually(lambda: len(waiting(made)) == 1, 20)
        bad = spool(made) / f"alert.{0:020}.json"
        make(bad)
        said = once(made)
        assert len(receiver.taken()) == 1 and not waiting(made)
        aside = bad.with_name(bad.name + ".damaged")
        assert said.count(str(aside)) == 1
        assert aside.exists() and once(made) == ""


def test_an_alert_of_a_later_version_waits_for_one_who_knows_it():
    receiver = Receiver()
    with delivering(hook(receiver), starts=False) as (made, _):
        fire(made, 1)
        eventually(lambda: len(waiting(made)) == 1, 20)
        (file,) = waiting(made)
        document = json.loads(file.read_text())
        later = spool(made) / f"alert.{document['id'] + 1:020}.json"
        later.write_text(json.dumps({"id": document["id"] + 1, "kind": "of_next_year"}))
        assert f"alert {document['id'] + 1} is of another version" in once(made, code=1)
        assert waiting(made) == [later] and len(receiver.taken()) == 1
        later.write_text(json.dumps({**document, "id": document["id"] + 1}))
        once(made)
        assert len(receiver.taken()) == 2 and not waiting(made)


def test_marks_whose_alert_is_gone_hold_nothing_back_and_go():
    """A sender ended between taking an alert out and its marks; a sink has another name now."""
    receiver = Receiver()
    with delivering(hook(receiver), starts=False) as (made, _):
        (spool(made) / f"alert.{7:020}.ops.done").touch()
        fire(made, 1)
        eventually(lambda: len(waiting(made)) == 1, 20)
        (file,) = waiting(made)
        file.with_name(file.name.replace("json", "of_old.done")).touch()
        once(made)
        # What the daemon says to who delivers stays.
        assert sorted(os.listdir(spool(made))) == ["lock", "reload"]


def test_alerts_begun_anew_replace_none_that_wait():
    receiver = Receiver()
    with delivering(hook(receiver), starts=False) as (made, _):
        fire(made, 2)
        eventually(lambda: len(waiting(made)) == 2, 20)
        # The first has arrived at one of the sinks.
        (spool(made) / f"alert.{1:020}.ops.done").touch()
        assert made.stop() == 0
        (made.place.alerts / "alerts.state").unlink()
        made.start()
        fire(made, 2, prefix="n")
        eventually(lambda: len(waiting(made)) == 4, 20)
        once(made)
        assert {event["data"]["organization"] for (event,) in receiver.taken().values()} >= {
            "o1", "n0", "n1"}
        assert len(told(made)) == 2


def test_secrets_are_in_no_core_dump():
    """Neither its own nor that of what it starts."""
    script = "grep 'Max core file size' /proc/$PPID/limits /proc/$$/limits > {}/limits\n"
    with delivering(command(script), starts=False) as (made, _):
        fire(made, 1)
        eventually(lambda: len(waiting(made)) == 1, 20)
        once(made)
        lines = (made.place.path / "limits").read_text().splitlines()
        assert [line.split()[-3:-1] for line in lines] == [["0", "0"]] * 2


# MARK: commands

def test_a_parent_that_wanted_no_word_of_children_changes_nothing():
    """Who ignores SIGCHLD hands that on, and the kernel then keeps no exit codes."""
    receiver = Receiver()
    with delivering(hook(receiver), starts=False) as (made, _):
        fire(made, 1)
        eventually(lambda: len(waiting(made)) == 1, 20)
        once(made, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        assert len(receiver.requests) == 1


def test_a_command_is_over_when_it_has_ended_whatever_it_leaves_behind():
    script = "cat >> {}/events; echo >> {}/events\nsleep 600 & echo $! > {}/pid\n"
    with delivering(command(script, timeout="3s"), starts=False) as (made, _):
        fire(made, 1)
        eventually(lambda: len(waiting(made)) == 1, 20)
        assert once(made) == ""
        assert len((made.place.path / "events").read_text().splitlines()) == 1
        eventually(lambda: not alive(int((made.place.path / "pid").read_text())), 5)


def test_a_command_that_closes_its_output_gets_its_input():
    with delivering(command("exec >&-\nsleep 0.3\ncat > {}/event\n"), starts=False) as (made, _):
        fire(made, 1)
        eventually(lambda: len(waiting(made)) == 1, 20)
        once(made)
        assert json.loads((made.place.path / "event").read_text())["specversion"] == "1.0"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_whoever_ends_it_ends_the_command_too(number):
    with delivering(command("echo $$ > {}/pid\nexec sleep 600\n")) as (made, sender):
        fire(made, 1)
        file = made.place.path / "pid"
        eventually(lambda: file.exists() and file.read_text().strip(), 20)
        sender.process.send_signal(number)
        assert sender.process.wait(5) == -number
        eventually(lambda: not alive(int(file.read_text())), 5)
        assert len(waiting(made)) == 1


def test_a_signal_that_it_was_started_to_ignore_ends_nothing():
    """As nohup starts it."""
    script = "kill -HUP $PPID\nsleep 0.3\ncat > {}/event\n"
    with delivering(command(script), starts=False) as (made, _):
        fire(made, 1)
        eventually(lambda: len(waiting(made)) == 1, 20)
        once(made, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        assert json.loads((made.place.path / "event").read_text())["specversion"] == "1.0"


def test_one_that_is_refused_holds_none_back_from_who_delivers_once():
    """As cron runs it: each begins with the oldest."""
    receiver = Receiver(says=lambda count: 400 if count in (0, 3) else 204)
    with delivering(hook(receiver), starts=False) as (made, _):
        fire(made, 3)
        eventually(lambda: len(waiting(made)) == 3, 20)
        assert "answers with status 400" in once(made, code=1)
        assert len(receiver.taken()) == 2 and len(waiting(made)) == 1
        once(made, code=1)
        once(made)
        assert not waiting(made)


def test_what_is_refused_whole_is_not_asked_for_ever():
    receiver = Receiver(says=404)
    with delivering(hook(receiver), starts=False) as (made, _):
        fire(made, 30)
        eventually(lambda: len(waiting(made)) == 30, 30)
        once(made, code=1)
        assert len(receiver.requests) == 20
