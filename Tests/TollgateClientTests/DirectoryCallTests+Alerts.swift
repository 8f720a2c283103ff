import TollgateWire

@testable import TollgateClient

extension DirectoryCallTests {
    private static var whole: AlertSubjectInfo {
        var whole = AlertSubjectInfo()
        (whole.organization, whole.isPersonal, whole.user) = ("o", false, "u")
        (whole.key, whole.address, whole.quota) = ("k", "a", "q")
        (whole.operation, whole.trouble) = ("p", "t")
        return whole
    }

    static var alerts: [(Sent, String)] { [
        (
            sent(.alerts(rule: "r", organization: "o", after: "9", limit: 2)),
            #""alert.list","rule":"r","organization":"o","after":"9","limit":2}"#
        ),
        (sent(.acknowledgeAlert(7)), #""alert.ack","id":7}"#),
        (sent(.acknowledgeAlert(7, note: "n")), #""alert.ack","id":7,"note":"n"}"#),
        (sent(.testAlerts(rule: "r")), #""alert.test","rule":"r"}"#),
        (sent(.createSilence(seconds: 60)), #""silence.create","for_seconds":60}"#),
        (
            sent(
                .createSilence(
                    rule: "r", subject: whole, until: Timestamp(milliseconds: 5), note: "n")),
            #""silence.create","rule":"r","organization":"o","personal":false,"user":"u","#
                + #""key":"k","address":"a","quota":"q","operation":"p","trouble":"t","#
                + #""until_at":5,"note":"n"}"#
        ),
        (sent(.silences(limit: 3)), #""silence.list","limit":3}"#),
        (sent(.removeSilence(8)), #""silence.remove","id":8}"#),
    ] }
}
