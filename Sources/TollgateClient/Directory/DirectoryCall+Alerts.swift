import TollgateWire

extension DirectoryCall where Answer == DirectoryPage<AlertInfo> {
    /// The newest 1,000, the newest first, part by part: of one rule or organization, or of all.
    public static func alerts(
        rule: String? = nil, organization: String? = nil, after: String? = nil,
        limit: Int64? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .listAlerts,
            [
                "rule": .member(rule), "organization": .member(organization),
                "after": .member(after), "limit": .member(limit),
            ])
    }
}

extension DirectoryCall where Answer == AlertInfo {
    /// Says that somebody has taken note of an alert; again, another note takes the place of the
    /// one before.
    public static func acknowledgeAlert(_ id: UInt64, note: String? = nil) -> DirectoryCall {
        DirectoryCall(
            .acknowledgeAlert, answering: "alert",
            ["id": .units(id), "note": .member(note)])
    }

    /// Sends a test where alerts go, under the name of a rule or of none; silences do not hold it.
    public static func testAlerts(rule: String? = nil) -> DirectoryCall {
        DirectoryCall(.testAlerts, answering: "alert", ["rule": .member(rule)])
    }
}

extension DirectoryCall where Answer == AlertSilenceInfo {
    /// Nobody is told, for so many seconds, of alerts of a rule, or of all, about all that
    /// `subject` says.
    public static func createSilence(
        rule: String? = nil, subject: AlertSubjectInfo = AlertSubjectInfo(), seconds: Int64,
        note: String? = nil
    ) -> DirectoryCall {
        createSilence(rule, subject, until: nil, seconds: seconds, note)
    }

    /// The same until an instant, at most 366 days ahead.
    public static func createSilence(
        rule: String? = nil, subject: AlertSubjectInfo = AlertSubjectInfo(), until: Timestamp,
        note: String? = nil
    ) -> DirectoryCall {
        createSilence(rule, subject, until: until, seconds: nil, note)
    }

    private static func createSilence(
        _ rule: String?, _ subject: AlertSubjectInfo, until: Timestamp?, seconds: Int64?,
        _ note: String?
    ) -> DirectoryCall {
        DirectoryCall(
            .createSilence, answering: "silence",
            [
                "rule": .member(rule), "organization": .member(subject.organization),
                "personal": subject.isPersonal.map { .bool($0) }, "user": .member(subject.user),
                "key": .member(subject.key), "address": .member(subject.address),
                "quota": .member(subject.quota), "operation": .member(subject.operation),
                "trouble": .member(subject.trouble), "until_at": .member(until),
                "for_seconds": .member(seconds), "note": .member(note),
            ])
    }

    /// Ends a silence before its time.
    public static func removeSilence(_ id: UInt64) -> DirectoryCall {
        DirectoryCall(.removeSilence, answering: "silence", ["id": .units(id)])
    }
}

extension DirectoryCall where Answer == DirectoryPage<AlertSilenceInfo> {
    /// Those that hold, the newest first.
    public static func silences(after: String? = nil, limit: Int64? = nil) -> DirectoryCall {
        DirectoryCall(.listSilences, ["after": .member(after), "limit": .member(limit)])
    }
}
