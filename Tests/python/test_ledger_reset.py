"""A reset of quotas that was acknowledged is done, once, whatever becomes of the daemon before its
journal takes it."""

from directory_daemon import Place
from hardening import eventually
from ledger_daemon import PLAN, Burst, LedgerDaemon, LedgerPlace, used
from ledger_damage import RESET_PLAN, policy_with
from test_ledger_disk import CHARGES_MAX, REFUSED, fill
from test_usage_closing import charge_many


def tokens(one):
    return used(one.callers, "acme", plan=RESET_PLAN)["tokens"]


def test_a_reset_that_waits_for_the_journal_outlives_the_daemon():
    place, directory = LedgerPlace(size=48 << 20), Place()
    one = LedgerDaemon(place, policy=policy_with(directory))
    try:
        one.admins.organizations.create("acme", plan=PLAN)
        burst, filler = Burst(one), fill(place)
        burst.until(REFUSED, CHARGES_MAX)
        told = burst.told
        burst.close()
        one.admins.organizations.change_plan("acme", RESET_PLAN, mode="reset")
        assert tokens(one) == told
        one.kill()
        filler.unlink()
        one.start()
        assert tokens(one) == 0
        # Not again at the next start, nor when it comes round.
        assert one.charge("acme", "ada", 5, plan=RESET_PLAN).allowed
        one.die_and_start_again()
        assert tokens(one) == 5
        assert one.stop() == 0
    finally:
        one.remove()
        place.remove()
        directory.remove()


def test_a_reset_that_waits_is_done_when_room_returns():
    place, directory = LedgerPlace(size=48 << 20), Place()
    one = LedgerDaemon(place, policy=policy_with(directory))
    try:
        one.admins.organizations.create("acme", plan=PLAN)
        burst, filler = Burst(one), fill(place)
        burst.until(REFUSED, CHARGES_MAX)
        one.admins.organizations.change_plan("acme", RESET_PLAN, mode="reset")
        assert tokens(one) == burst.told
        burst.close()
        filler.unlink()
        eventually(lambda: tokens(one) == 0, 20)
        assert one.charge("acme", "ada", 5, plan=RESET_PLAN).allowed
        one.die_and_start_again()
        assert tokens(one) == 5
        assert one.stop() == 0
    finally:
        one.remove()
        place.remove()
        directory.remove()


def test_a_reset_of_many_users_is_done_when_it_is_answered():
    """All of one shard, whose journal is brought in pieces of 16 KiB."""
    place, directory = LedgerPlace(), Place()
    one = LedgerDaemon(place, policy=policy_with(directory))
    users = 12_000
    try:
        one.admins.organizations.create("acme", plan=PLAN)
        charge_many(one, "acme", users)
        one.admins.organizations.change_plan("acme", RESET_PLAN, mode="reset")
        for user in range(0, users, 50):
            assert not any(used(one.callers, "acme", f"u{user}", RESET_PLAN).values())
        assert tokens(one) == 0
        one.die_and_start_again()
        assert tokens(one) == 0
        assert one.stop() == 0
    finally:
        one.remove()
        place.remove()
        directory.remove()
