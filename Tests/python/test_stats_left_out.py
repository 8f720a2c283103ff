"""Numbers that found no room in the reply to STATS: everybody who shows or reads it can see it."""

import asyncio

import pytest
from commandline import Cli
from frame_layout import frame, stats_reply
from scripted_daemon import ScriptedDaemon, request_id
from tollgate import STATS_LEFT_OUT, AsyncClient, Client


class Daemon:
    """Has so many numbers besides those that it tells."""

    def __init__(self, left_out):
        entries = [{"name": "tollgate_stats_left_out", "kind": "gauge", "value": left_out},
                   {"name": "tollgate_frames_total", "kind": "counter", "value": 7}]
        self.body = stats_reply({"entries": entries, "extensions": []})
        self.peer = ScriptedDaemon(self.answer)
        self.policy = "unused"

    def answer(self, _, asked):
        if asked[4] == 0x50:
            # Of an earlier version: it knows no top.show.
            words = b"call: there is no call of that name"
            return frame(0x50 | 0x80, request_id(asked), words, status=18)
        assert asked[4] == 0x40
        return frame(0x40 | 0x80, request_id(asked), self.body, status=0)

    def __enter__(self):
        self.peer.__enter__()
        self.data = self.admin = self.peer.path
        return self

    def __exit__(self, *_):
        self.peer.__exit__()


@pytest.mark.parametrize("left_out", [0, 1_234])
def test_what_is_missing_is_said(left_out):
    with Daemon(left_out) as daemon:
        with Client(daemon.admin) as client:
            assert client.stats()[STATS_LEFT_OUT] == left_out

        async def ask():
            async with AsyncClient(daemon.admin) as client:
                return await client.stats()

        assert asyncio.run(ask()) == {STATS_LEFT_OUT: left_out, "tollgate_frames_total": 7}
        cli = Cli(daemon)
        said = cli("stats")
        assert ("1,234 more numbers" in said.stderr) == bool(left_out)
        assert cli.json("stats")["tollgate_stats_left_out"] == left_out
        top = cli("top", "--count", 1, "--interval", 0.1)
        assert ("1,234 more numbers" in top.stdout) == bool(left_out)
        assert "organizations are not shown: the daemon is of an earlier version" in top.stdout
