"""Rules and sinks of alerts that a reload changes, in a real daemon and who delivers beside it."""

import json

from hardening import eventually
from test_alerts import spend, told
from test_alerts_deliver import Receiver, delivering, fire, hook, waiting


def change(made, update):
    """Rewrites the policy's alerts, and reloads."""
    head, _, alerts = made.policy.read_text().rpartition("alerts: ")
    document = json.loads(alerts)
    update(document)
    made.policy.write_text(head + "alerts: " + json.dumps(document) + "\n")
    made.admins.reload()


def test_a_reload_takes_rules_and_sinks_and_loses_nothing_that_waits():
    before, after = Receiver(), Receiver()
    before.down()
    with delivering(hook(before)) as (made, sender):
        fire(made, 3)
        eventually(lambda: len(waiting(made)) == 3, 20)
        eventually(lambda: "nobody answers at the host" in sender.said(), 20)
        sinks = {"new": {"kind": "webhook", "url": after.url(), "timeout": "2s"}}

        def other(alerts):
            alerts["rules"]["quota_threshold"]["percents"] = [70, 80, 95]
            alerts["sinks"] = sinks
        change(made, other)
        # What waited goes to the sink that there is now, by the same process.
        eventually(lambda: len(after.taken()) == 3 and not waiting(made), 20)
        assert "the policy's sinks are others now: delivering to new" in sender.said()
        made.wait_for_log("alerts: rules changed: quota_threshold")
        # 80 % was told; 70 % is a new threshold, and reached.
        for number in range(3):
            assert spend(made, 150, f"o{number}").allowed
        eventually(lambda: len(after.taken()) == 9, 20)
        thresholds = sorted(one["threshold"] for one in told(made))
        assert thresholds == [70] * 3 + [80] * 3 + [95] * 3, thresholds

        # While there are no sinks what waits is kept.
        after.down()
        fire(made, 1, prefix="later")
        eventually(lambda: len(waiting(made)) == 2, 20)
        change(made, lambda alerts: alerts.update(sinks={}))
        eventually(lambda: "has no sinks of alerts now" in sender.said(), 20)
        fire(made, 1, prefix="untold")
        eventually(lambda: len(told(made)) == 13, 20)
        after.up()
        assert len(waiting(made)) == 2 and len(after.taken()) == 9
        change(made, lambda alerts: alerts.update(sinks=sinks))
        eventually(lambda: len(after.taken()) == 11 and not waiting(made), 20)
        assert not before.requests and sender.process.poll() is None
        assert "only after a restart" not in made.logged()
        # A start takes the same, and tells nothing anew.
        made.die_and_start_again()
        assert not spend(made, 800, "o0").allowed
        fire(made, 1, prefix="last")
        eventually(lambda: len(after.taken()) == 13, 20)
        assert len(told(made)) == 15


def test_a_reload_names_what_of_alerts_wants_a_restart_and_keeps_wrong_sinks_out():
    receiver = Receiver()
    with delivering(hook(receiver)) as (made, sender):
        place = made.place.alerts
        elsewhere = place.parent / (place.name + "-elsewhere")
        eventually(lambda: "delivering alerts from" in sender.said(), 20)
        change(made, lambda alerts: alerts.update(path=str(elsewhere)))
        made.wait_for_log("in force only after a restart: alerts.path")
        fire(made, 1)
        eventually(lambda: len(receiver.taken()) == 1, 20)
        assert not elsewhere.exists() and f"alerts.path is {elsewhere} now" in sender.said()

        def wrong(alerts):
            alerts["path"] = str(place)
            alerts["sinks"]["ops"]["secret_file"] = str(place / "no-such-file")
        change(made, wrong)
        eventually(lambda: "the sinks stay as they were" in sender.said(), 20)
        fire(made, 1, prefix="p")
        eventually(lambda: len(receiver.taken()) == 2, 20)
        assert all("webhook-signature" in headers for _, _, _, headers, _ in receiver.requests)
