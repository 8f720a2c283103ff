/// One change of the directory: who, when, what, before and after. Never a secret.
public struct DirectoryLogEntry: DirectoryDocument {
    /// Counted from 1, in the order of the changes.
    public var number: UInt64
    public var at: Timestamp
    /// Of the peer, as the kernel gave them when it connected.
    public var uid: UInt32
    public var pid: UInt32
    /// `nil`: of none.
    public var organization: String?
    public var action: String
    public var subject: String
    /// `nil`: there was nothing.
    public var before: JSONObject?
    /// `nil`: there is nothing any more.
    public var after: JSONObject?

    /// As the directory has it.
    public init(
        number: UInt64, at: Timestamp, uid: UInt32, pid: UInt32, organization: String?,
        action: String, subject: String, before: JSONObject?, after: JSONObject?
    ) {
        self.number = number
        self.at = at
        self.uid = uid
        self.pid = pid
        self.organization = organization
        self.action = action
        self.subject = subject
        self.before = before
        self.after = after
    }

    /// Reads an entry.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        number = try members.count("number")
        at = try members.instant("at")
        uid = try members.small("uid")
        pid = try members.small("pid")
        organization = try members.optionalText("organization")
        action = try members.text("action")
        subject = try members.text("subject")
        before = try members.optionalObject("before")
        after = try members.optionalObject("after")
    }

    /// The entry with all of its members.
    public var json: JSONValue {
        .object([
            "number": .count(number), "at": at.json, "uid": .count(UInt64(uid)),
            "pid": .count(UInt64(pid)), "organization": .optional(organization),
            "action": .string(action), "subject": .string(subject), "before": .optional(before),
            "after": .optional(after),
        ])
    }
}
