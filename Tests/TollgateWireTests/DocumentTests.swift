import Testing
import TollgateWire

/// Every document there and back, and with every member missing, of another type, or unknown.
@Suite struct DocumentTests {
    private static let optional: [String: Set<String>] = [
        "Subscription": ["pending"], "Organization": ["subscription"], "User": ["role"],
        "APIKeyInfo": [
            "last_used_at", "expires_at", "revoked_at", "rotating_until_at", "permissions",
            "addresses", "rate",
        ],
        "ExportedKey": [
            "last_used_at", "expires_at", "revoked_at", "rotating_until_at", "permissions",
            "addresses", "rate", "previous_digest", "previous_pepper",
        ],
        "Session": ["revoked_at", "reason"], "IssuedTokens": ["retried"],
        "LimitOverride": ["user", "expires_at"],
        "SigningKey": ["promoted_at", "demoted_at", "retired_at", "retirable_at"],
        "PlanChangePreview": ["from"],
        "DirectoryLogEntry": ["organization", "before", "after"], "DirectoryPage<User>": ["next"],
        "LedgerHealth": ["durability", "path", "trouble", "trouble_at", "advice", "snapshot"],
        "PeriodUsage": ["user", "ends_at"],
        "AlertInfo": [
            "organization", "user", "key", "address", "quota", "operation", "trouble",
            "period_ends_at", "exhausted_at", "shadow", "acknowledged_at", "acknowledged_by",
        ],
        "AlertSilenceInfo": [
            "rule", "organization", "personal", "user", "key", "address", "quota", "operation",
            "trouble",
        ],
        "TopOrganizations": ["since_at"], "NearestQuota": ["user", "ends_at"],
        "CreditGrant": ["burnt", "remaining", "state", "expires_at", "voided_at"],
    ]

    private static func error(
        _ type: any DirectoryDocument.Type, _ json: JSONValue
    ) -> DocumentError? {
        do throws(DocumentError) {
            _ = try type.init(json: json)
            return nil
        } catch { return error }
    }

    private static func members(_ document: some DirectoryDocument) throws -> [JSONMember] {
        guard case .object(let object) = document.json else { return [] }
        return object.members
    }

    private static func comesBack<Document: DirectoryDocument>(_ document: Document) throws {
        let json = document.json
        #expect(try Document(json: json) == document)
        #expect(try Document(json: JSONValue(reading: json.bytes)) == document)
        #expect(try Document(json: json).json.bytes == json.bytes)
    }

    @Test func everyDocumentComesBackAsItWas() throws {
        for document in DocumentSamples.all { try Self.comesBack(document) }
        #expect(DocumentSamples.all.count == 37)
    }

    @Test func aMemberThatIsMissingOrNullIsRefusedByNameUnlessItMayBeAbsent() throws {
        for document in DocumentSamples.all where !(document is ExportedRecord) {
            let type = Swift.type(of: document)
            let members = try Self.members(document)
            for (index, member) in members.enumerated() {
                let mayBeAbsent = Self.optional["\(type)"]?.contains(member.name) == true
                var missing = members
                missing.remove(at: index)
                var isNull = members
                isNull[index].value = .null
                for changed in [missing, isNull] {
                    let error = Self.error(type, .object(JSONObject(changed)))
                    #expect(mayBeAbsent == (error == nil), "\(type).\(member.name)")
                    #expect(error == nil || error?.member == member.name, "\(type).\(member.name)")
                }
            }
        }
    }

    @Test func aMemberOfAnotherTypeIsRefusedByName() throws {
        let values: [JSONValue] = [
            .bool(true), .integer(1), .integer(-1), .integer(1 << 54), .string("no such word"),
            .array([.bool(true)]), .object([:]),
        ]
        var refused = 0
        for document in DocumentSamples.all where !(document is ExportedRecord) {
            let type = Swift.type(of: document)
            let members = try Self.members(document)
            for (index, member) in members.enumerated() {
                for value in values where value.kindInWords != member.value.kindInWords {
                    var changed = members
                    changed[index].value = value
                    let error = Self.error(type, .object(JSONObject(changed)))
                    // Objects of the log are anything.
                    let name = try #require(error?.member, "\(type).\(member.name) = \(value)")
                    #expect(name.hasPrefix(member.name), "\(type).\(member.name)")
                    refused += 1
                }
            }
        }
        #expect(refused > 600)
    }

    @Test func countsGoUpTo2To53AndWordsAreTheListedOnes() {
        func status(_ value: JSONValue) -> DocumentError? {
            Self.error(
                DirectoryBackup.self, .object(["path": .string("p"), "bytes": value]))
        }
        #expect(status(.integer(0)) == nil && status(.integer(1 << 53)) == nil)
        #expect(status(.integer((1 << 53) + 1))?.what == "is not in 0 to 2^53")
        #expect(status(.integer(-1))?.what == "is not in 0 to 2^53")
        #expect(status(.string("1"))?.description == "bytes: is not an integer but a string")
        // Larger counts than a document can say are given as its largest.
        #expect(DirectoryBackup(path: "p", bytes: .max).json
            == .object(["path": .string("p"), "bytes": .integer(1 << 53)]))
        var user = DocumentSamples.user.json
        guard case .object(var object) = user else { return }
        object.members[3].value = .string("boss")
        user = .object(object)
        #expect(
            Self.error(User.self, user)?.description == "role: is none of owner, admin, member")
    }

    @Test func anErrorNamesTheWholeWayToItsMember() {
        let page: JSONValue = .object([
            "items": .array([DocumentSamples.user.json, .object(["id": .integer(1)])]),
            "next": .null,
        ])
        #expect(
            Self.error(DirectoryPage<User>.self, page)?.description
                == "items[1].organization: is missing")
        #expect(
            Self.error(DirectoryPage<User>.self, .array([]))?.description
                == "is not an object but an array")
    }

    @Test func membersOfALaterDaemonAreSkippedByAClientAndRefusedByAnImport() throws {
        for document in DocumentSamples.all {
            var members = try Self.members(document)
            members.append(JSONMember("later", .array([.object([:])])))
            #expect(Self.error(Swift.type(of: document), .object(JSONObject(members))) == nil)
        }
        for record in DocumentSamples.records {
            #expect(try ExportedRecord(strictly: record.json) == record)
            var members = try Self.members(record)
            members.append(JSONMember("later", .null))
            #expect(throws: DocumentError("later", "is not known")) {
                try ExportedRecord(strictly: .object(JSONObject(members)))
            }
        }
        guard case .object(var organization) = DocumentSamples.records[0].json,
            case .object(var subscription)? = organization["subscription"]
        else { throw DocumentError("", "no subscription") }
        subscription.append("tg_live_secret!", .null)
        organization.members[6].value = .object(subscription)
        #expect(throws: DocumentError("subscription.a member", "is not known")) {
            try ExportedRecord(strictly: .object(organization))
        }
    }

    @Test func secretsArePrintedByNoDocument() throws {
        for document in DocumentSamples.all {
            var dumped = ""
            dump(document, to: &dumped)
            for shown in ["\(document)", String(reflecting: document), dumped] {
                #expect(!shown.contains("hidden") && !shown.contains("\"aa\""))
            }
        }
        let request = DirectoryRequest(.endSession, ["refresh_token": .string("hidden")])
        var dumped = ""
        dump(request, to: &dumped)
        #expect(!"\(request) \(String(reflecting: request)) \(dumped)".contains("hidden"))
        let secret = DocumentSamples.issuedKey.secret
        #expect("\(secret) \([secret])" == "(secret) [(secret)]")
        #expect(secret.revealed() == "tg_live_hidden")
        #expect(DocumentSamples.issuedKey.json.text.contains("\"secret\":\"tg_live_hidden\""))
    }
}
