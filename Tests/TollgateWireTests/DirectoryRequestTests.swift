import Testing
import TollgateWire

/// The catalogue of calls: what each takes, and what is refused before the directory sees it.
@Suite struct DirectoryRequestTests {
    typealias Outcome = Result<DirectoryRequest, DirectoryRequest.Fault>

    /// A value that a member takes.
    static func value(_ kind: CallMember.Kind) -> JSONValue {
        switch kind {
        case .name, .text, .secret: .string("x")
        case .flag: .bool(true)
        case .integer(let range): .integer(range.upperBound)
        case .instant: .integer(1)
        case .word(let words): .string(words.last ?? "")
        case .names: .array([.string("a"), .string("b")])
        case .rate: APIKeyInfo.Rate(limit: 1, windowSeconds: 86_400).json
        case .records: .array(DocumentSamples.records.map(\.json))
        }
    }

    /// Values that it does not take.
    static func wrong(_ kind: CallMember.Kind) -> [JSONValue] {
        let number: [JSONValue] = [.bool(true), .string("1"), .array([]), .object([:])]
        let text: [JSONValue] = [.bool(true), .integer(1), .array([]), .object([:])]
        switch kind {
        case .name: return text + [
            .string(""), .string(String(repeating: "x", count: 129)), .string("a\n"),
            .string("a\u{7f}"), .string("a\u{85}"), .string(String(repeating: "é", count: 65)),
        ]
        case .text(let bytesMax):
            return text + [
                .string(""), .string("\0"), .string(String(repeating: "x", count: bytesMax + 1)),
            ]
        case .secret: return text
        case .flag: return [.string("true"), .integer(1), .array([]), .object([:])]
        case .integer(let range):
            return number + [.integer(range.lowerBound - 1), .integer(range.upperBound + 1)]
        case .instant: return number + [.integer(-1), .integer((1 << 53) + 1)]
        case .word: return text + [.string("none of them"), .string("")]
        case .names:
            return [
                .string("a"), .object([:]), .array([.integer(1)]), .array([.string("")]),
                .array([.string("a"), .string("b"), .string("a")]), .array([.null]),
                .array((0..<65).map { .string("n\($0)") }),
            ]
        case .rate:
            return [
                .integer(1), .array([]), .object([:]), .object(["limit": .integer(1)]),
                .object(["limit": .integer(0), "window_seconds": .integer(1)]),
                .object(["limit": .integer(1), "window_seconds": .integer(2)]),
                .object(["limit": .integer(1), "window_seconds": .integer(1), "x": .null]),
            ]
        case .records:
            return [
                .object([:]), .array([.null]), .array([.object(["type": .string("plan")])]),
                .array([DocumentSamples.user.json]),
                .array(Array(repeating: DocumentSamples.records[1].json, count: 1_001)),
            ]
        }
    }

    static func read(_ call: CallName, _ members: [JSONMember]) -> Outcome {
        read(DirectoryRequest(call, JSONObject(members)).body)
    }

    static func read(_ body: [UInt8]) -> Outcome {
        body.withUnsafeBytes { view in
            do throws(DirectoryRequest.Fault) {
                return .success(try DirectoryRequest(reading: view))
            } catch { return .failure(error) }
        }
    }

    static func fault(_ result: Outcome) -> String? {
        guard case .failure(let fault) = result else { return nil }
        return "\(fault.status.rawValue) \(fault)"
    }

    static func all(_ call: CallName) -> [JSONMember] {
        call.members.map { JSONMember($0.name, value($0.kind)) }
    }

    @Test(arguments: CallName.allCases) func aCallTakesItsMembersAndGivesThemBack(
        _ call: CallName
    ) {
        let request = DirectoryRequest(call, JSONObject(Self.all(call)))
        #expect(Self.read(request.body) == .success(request))
        let required = Self.all(call).enumerated().filter { call.members[$0.offset].isRequired }
        #expect(Self.fault(Self.read(call, required.map(\.element))) == nil)
        #expect(Set(call.members.map(\.name)).count == call.members.count)
    }

    @Test(arguments: CallName.allCases) func aMemberThatIsMissingWrongOrUnknownIsNamed(
        _ call: CallName
    ) throws {
        let members = Self.all(call)
        for (index, rule) in call.members.enumerated() {
            var changed = members
            changed.remove(at: index)
            #expect(
                Self.fault(Self.read(call, changed))
                    == (rule.isRequired ? "18 \(rule.name): is missing" : nil))
            for value in Self.wrong(rule.kind) {
                changed = members
                changed[index].value = value
                let fault = try #require(
                    Self.fault(Self.read(call, changed)), "\(call.rawValue) \(rule.name) \(value)")
                #expect(fault.hasPrefix("18 \(rule.name)"))
            }
            changed = members
            changed[index].value = .null
            let result = Self.read(call, changed)
            switch rule.presence {
            case .required:
                #expect(Self.fault(result)?.hasPrefix("18 \(rule.name): is not") == true)
            case .optional: #expect(try !result.get().has(rule.name))
            case .requiredOrNull, .optionalOrNull:
                #expect(try result.get().members[rule.name] == .null)
            }
        }
        let unknown = members + [JSONMember("nothing", .null)]
        #expect(
            Self.fault(Self.read(call, unknown))
                == "18 nothing: is no member of \(call.rawValue)")
        let secret = members + [JSONMember("tg_live_Secret", .null)]
        #expect(
            Self.fault(Self.read(call, secret)) == "18 a member: is no member of \(call.rawValue)")
    }

    static let bodies: [(String, String)] = [
        ("", "4 CALL: byte 0: the text ends here"), ("{", "4 CALL: byte 1: no name of a member"),
        ("[]", "4 CALL: the body is no object but an array"),
        ("\"plan.list\"", "4 CALL: the body is no object but a string"),
        ("{} ", "18 call: is missing"), ("{\"call\":null}", "18 call: is not a string but null"),
        ("{\"call\":\"plan.lists\"}", "18 call: there is no call of that name"),
        ("{\"call\":\"\"}", "18 call: there is no call of that name"),
        ("{\"call\":\"Plan.list\"}", "18 call: there is no call of that name"),
        (
            "{\"call\":\"plan.list\",\"call\":\"plan.list\"}",
            "4 CALL: byte 20: a member comes twice"
        ),
        ("{\"call\":\"plan.list\"}{}", "4 CALL: byte 20: bytes behind the value"),
        (
            "{\"call\":\"plan.list\",\"limit\":1.5}",
            "4 CALL: byte 28: a number that is not written as an integer"
        ),
    ]

    @Test(arguments: bodies) func aBodyThatIsNoRequestSaysWhy(_ body: String, _ fault: String) {
        #expect(Self.fault(Self.read(Array(body.utf8))) == fault)
    }

    @Test func everyCallHasARoleAndNoneThatChangesMayBeAskedTwice() {
        let issue = CallName.allCases.filter { $0.role == .issue }
        #expect(issue.map(\.rawValue) == ["token.issue", "token.refresh", "session.end"])
        for call in CallName.allCases {
            let verb = call.rawValue.split(separator: ".").last ?? ""
            #expect(call.onlyReads == ["list", "show", "status", "export", "closed"].contains(verb))
        }
        #expect(CallName.allCases.count == 63)
    }

    @Test func membersAreReadWithTheirTypes() throws {
        let request = try Self.read(
            Array(#"{"call":"key.edit","organization":"o","key":"k","rate":null}"#.utf8)
        ).get()
        #expect(request.call == .editKey && request.text("organization") == "o")
        #expect(request.has("rate") && !request.has("addresses"))
        #expect(try request.rate == nil)
        let created = try Self.read(.createKey, Self.all(.createKey)).get()
        #expect(try created.rate == .init(limit: 1, windowSeconds: 86_400))
        #expect(created.names("permissions") == ["a", "b"])
        #expect(created.instant("expires_at") == Timestamp(milliseconds: 1))
        let imported = try Self.read(.importDirectory, Self.all(.importDirectory)).get()
        #expect(try imported.records == DocumentSamples.records)
        let change = try Self.read(.changePlan, Self.all(.changePlan)).get()
        #expect(change.choice("mode") == Subscription.ChangeMode.reset)
        #expect(change.flag("preview") == true && change.integer("preview") == nil)
    }
}
