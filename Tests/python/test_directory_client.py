"""The directory's calls in the Python clients: what goes out, and what comes of a reply."""

import asyncio
import dataclasses
import inspect
import re
from datetime import datetime, timezone

import directory_samples as samples
import pytest
import tollgate
from directory_samples import ask
from scripted_daemon import ScriptedDaemon
from tollgate import AsyncClient, Client, InvalidRequest, MalformedReply, Unreachable, wire
from tollgate.calls import Group

KINDS = pytest.mark.parametrize("kind", [Client, AsyncClient])
CASES = samples.cases()
EACH = pytest.mark.parametrize("case", CASES, ids=repr)
SECRETS = ("eyJ-the-access-token", "tgr_the-refresh-token", "tg_live_the-secret")
NOWHERE = "/tmp/there-is-no-such.sock"


def plain(value):
    """A document as the JSON that it came from."""
    if dataclasses.is_dataclass(value):
        names = {"from_plan": "from", "to_plan": "to"}
        return {names.get(one.name, one.name): plain(getattr(value, one.name))
                for one in dataclasses.fields(value)}
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


@pytest.fixture(scope="module")
def answering():
    """Answers with the document that `current` holds, and keeps what was asked."""
    current = {}

    def answer(_, frame):
        current["asked"] = samples.asked(frame)
        return samples.reply(frame, current["reply"])

    with ScriptedDaemon(answer) as daemon:
        yield daemon.path, current


@KINDS
@EACH
def test_a_call_goes_out_and_its_reply_comes_back_as_the_document_says(answering, case, kind):
    path, current = answering
    current["reply"] = case.reply
    got = ask(kind, path, case.make)
    # A list says how much of it is wanted.
    limit = {"limit": 100} if case.result == "items" else {}
    assert current["asked"] == {"call": case.call, **case.sent, **limit}
    expected = case.reply[case.result] if case.result else case.reply
    if case.call == "token.issue":
        expected = {**expected, "retried": False}
    assert plain(got) == expected


def test_every_method_of_every_group_is_among_the_cases():
    made = set()
    groups = {name: one for name, one in vars(Client(NOWHERE)).items() if isinstance(one, Group)}
    methods = {
        f"{name}.{method}" for name, group in groups.items()
        for method, _ in inspect.getmembers(group, inspect.ismethod) if method[0] != "_"}
    for case in CASES:
        made |= set(re.findall(r"c\.(\w+\.\w+)\(", inspect.getsource(case.make)))
    assert made >= methods and len(methods) == 63, methods - made


@KINDS
def test_members_and_documents_of_a_later_daemon_are_left_out(answering, kind):
    path, current = answering

    def later(value):
        if isinstance(value, dict):
            return {**{key: later(one) for key, one in value.items()}, "later": [1, None]}
        return [later(one) for one in value] if isinstance(value, list) else value

    for case in CASES:
        if case.call not in ("log.list", "directory.export"):  # these give documents as they are
            current["reply"] = case.reply
            plainly = ask(kind, path, case.make)
            current["reply"] = later(case.reply)
            assert ask(kind, path, case.make) == plainly


@KINDS
def test_a_list_is_followed_to_its_end_and_only_as_far_as_one_reads(kind):
    users = [{**samples.USER, "id": f"u{n}"} for n in range(7)]
    asked = []

    def answer(_, frame):
        asked.append(samples.asked(frame))
        # Parts of two, whatever was asked for; the part behind u3 is empty and not the last.
        at = int(asked[-1].get("after", "0"))
        items = [] if at == 4 else users[at - (at > 4):][:2]
        after = str(at + 2) if at < 6 else None
        return samples.reply(frame, {"items": items, "next": after})

    with ScriptedDaemon(answer) as daemon:
        got = ask(kind, daemon.path, lambda c: c.users.list("acme"))
        assert [user.id for user in got] == ["u0", "u1", "u2", "u3", "u5", "u6"]
        assert asked[0] == {"call": "user.list", "organization": "acme", "limit": 100}
        assert [one.get("after") for one in asked] == [None, "2", "4", "6"]
        asked.clear()
        part = ask(kind, daemon.path, lambda c: c.users.list("acme").page("2", 5))
        assert [user.id for user in part.items] == ["u2", "u3"] and part.next == "4"
        assert asked == [{"call": "user.list", "organization": "acme", "after": "2", "limit": 5}]
    with ScriptedDaemon(answer) as daemon, Client(daemon.path, timeout=20) as client:
        asked.clear()
        listed = client.users.list("acme")
        assert asked == []
        for _ in range(2):  # each loop begins anew
            assert next(iter(listed)).id == "u0"
        assert len(asked) == 2


@KINDS
def test_a_cursor_that_does_not_move_ends_the_list(kind):
    def answer(_, frame):
        # A client that goes on is thrown out, and again when it has connected anew.
        more = samples.reply(frame, {"items": [], "next": "same"})
        return more if len(daemon.frames) < 5 else False

    with ScriptedDaemon(answer) as daemon:
        with pytest.raises(MalformedReply):
            ask(kind, daemon.path, lambda c: c.plans.list())
        assert len(daemon.frames) == 2


READS = ("list", "show", "status", "export", "closed")
READING = [case for case in CASES
           if case.call.split(".")[1] in READS or case.sent.get("preview")]


@KINDS
@EACH
def test_only_calls_that_read_are_asked_again_after_a_lost_connection(case, kind):
    def answer(_, frame):
        return False if len(daemon.frames) == 1 else samples.reply(frame, case.reply)

    with ScriptedDaemon(answer) as daemon:
        if case in READING:
            ask(kind, daemon.path, case.make)
            assert len(daemon.frames) == 2 and daemon.frames[0][16:] == daemon.frames[1][16:]
        else:
            with pytest.raises(Unreachable):
                ask(kind, daemon.path, case.make)
            assert len(daemon.frames) == 1
    assert len({case.call for case in READING}) == 24


@KINDS
def test_a_call_that_reads_is_asked_again_once(kind):
    with ScriptedDaemon(lambda *_: False) as daemon:
        with pytest.raises(Unreachable):
            ask(kind, daemon.path, lambda c: c.directory.status())
        assert len(daemon.frames) == 2


def test_a_client_that_is_closed_does_not_ask_again():
    async def close_while_it_waits(path, frames):
        client = AsyncClient(path, timeout=20)
        waiting = asyncio.ensure_future(client.directory.status())
        while not frames:
            await asyncio.sleep(0.001)
        await client.close()
        with pytest.raises(Unreachable, match="closed"):
            await waiting

    with ScriptedDaemon(lambda *_: None) as daemon:
        asyncio.run(close_while_it_waits(daemon.path, daemon.frames))
        assert len(daemon.frames) == len(daemon.connections) == 1


STATUSES = {
    7: "Forbidden", 16: "NotFound", 17: "AlreadyExists", 18: "InvalidValue", 19: "Conflict",
    20: "StorageFailed", 21: "NoDirectory", 22: "Busy", 23: "RefreshRefused",
}


@KINDS
@pytest.mark.parametrize("status", STATUSES)
def test_a_refused_call_says_why(kind, status):
    def answer(_, frame):
        return samples.reply(frame, "id: it is so".encode(), status)

    with ScriptedDaemon(answer) as daemon:
        with pytest.raises(tollgate.Refused) as refusal:
            ask(kind, daemon.path, lambda c: c.organizations.show("acme"))
        name = STATUSES[status]
        assert type(refusal.value) is getattr(tollgate, name)
        assert refusal.value.status == name[0].lower() + name[1:]
        assert refusal.value.code == status and refusal.value.detail == "id: it is so"
        assert len(daemon.frames) == 1  # an answer is no lost connection


WRONG = {
    "empty id": lambda c: c.organizations.show(""),
    "long id": lambda c: c.organizations.show("o" * 129),
    "long id in UTF-8": lambda c: c.organizations.show("é" * 65),
    "control character": lambda c: c.users.show("acme", "a\nb"),
    "C1 control character": lambda c: c.users.show("acme", "a\x85b"),
    "lone surrogate": lambda c: c.users.rename("acme", "ada", "\ud800"),
    "negative": lambda c: c.overrides.set("acme", "burst", -1),
    "above 2^53": lambda c: c.overrides.set("acme", "burst", 2**53 + 1),
    "instant before 1970": lambda c: c.keys.create(
        "acme", "ada", expires_at=datetime(1969, 12, 31, tzinfo=timezone.utc)),
    "instant without a zone": lambda c: c.keys.create(
        "acme", "ada", expires_at=datetime(2030, 1, 1)),
    "one text for a list": lambda c: c.tokens.issue("acme", "ada", permissions="chat"),
    "control character in a list": lambda c: c.keys.edit("acme", "k", addresses=["\0"]),
    "not JSON": lambda c: c.directory.import_records([{"type": {1, 2}}]),
    "no number of JSON": lambda c: c.directory.import_records([{"type": float("nan")}]),
    "more than a frame": lambda c: c.directory.import_records([{"type": "x" * 65_536}]),
}


@KINDS
@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments_are_refused_before_anything_is_sent(kind, what):
    with pytest.raises(InvalidRequest):
        ask(kind, NOWHERE, WRONG[what])


@KINDS
def test_secrets_stand_in_no_representation_and_no_error(answering, kind):
    path, current = answering
    seen = []
    for case in CASES:
        current["reply"] = case.reply
        seen += [repr(ask(kind, path, case.make))]
        # A reply that is good but for one thing, and requests that fail with a secret in them.
        current["reply"] = {**case.reply, "expires_at": "x", "key": 1}
        seen += [repr(failure(kind, path, case.make))]
    for secret in SECRETS:
        for bad in (secret + "\ud800", secret * 5_000):
            for make in (lambda c: c.tokens.refresh(bad), lambda c: c.sessions.end(bad),
                         lambda c: c.check(bad, operation="chat")):
                error = failure(kind, NOWHERE, make)
                assert isinstance(error, InvalidRequest)
                seen += [repr(error), repr(error.__cause__)]
    assert len(seen) > 80
    assert not [one for one in seen if any(secret in one for secret in SECRETS)]


def failure(kind, path, make):
    try:
        ask(kind, path, make)
    except Exception as error:
        return error
    return None


def test_what_a_token_or_key_is_shows_in_its_prefix_unless_it_is_said():
    def kind(credential, **said):
        return wire.check_body(credential, operation="chat", **said)[0]

    assert (kind(""), kind("eyJ.e.s"), kind("tg_live_x"), kind("TG_live_x")) == (0, 1, 2, 1)
    assert kind("tg_live_x", kind="token") == 1 and kind("anything", kind="key") == 2
    assert kind("", kind="key") == 0
    for wrong in ("", "jwt", "api_key"):
        with pytest.raises(InvalidRequest):
            kind("tg_live_x", kind=wrong)


def test_many_records_are_cut_into_parts_that_fit_a_call():
    records = [{"type": "user", "id": f"u{n}", "name": "é" * (n % 120)} for n in range(2_000)]
    parts = list(tollgate.batches(iter(records)))
    assert [one for part in parts for one in part] == records and 4 < len(parts) < 12
    sizes = [len(wire.frame(wire.CALL, 1, samples.import_body(part))) for part in parts]
    assert max(sizes) <= wire.LENGTH_MAX and min(sizes[:-1]) > wire.LENGTH_MAX - 1_000
    assert [len(part) for part in tollgate.batches(records[:3], bytes_max=1)] == [1, 1, 1]
    assert list(tollgate.batches([])) == []
    assert [len(part) for part in tollgate.batches([{"a": 1}] * 2_001)] == [1_000, 1_000, 1]
