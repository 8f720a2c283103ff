import Foundation
import Testing
import TollgateWire

@testable import TollgateClient

/// The vectors of CALL: what is sent, and what is made of documents, good ones and others.
@Suite struct CallVectorTests {
    /// What Foundation made of JSON, as ours: two readers that know nothing of each other.
    private static func value(_ any: Any) throws -> JSONValue {
        switch any {
        case is NSNull: return .null
        case let text as String: return .string(text)
        case let list as [Any]: return .array(try list.map(value))
        case let object as [String: Any]:
            return .object(JSONObject(try object.map { JSONMember($0, try value($1)) }))
        case let number as NSNumber:
            let isFlag = String(cString: number.objCType) == "c"
            return isFlag ? .bool(number.boolValue) : .integer(number.int64Value)
        default: throw DocumentError("", "\(type(of: any))")
        }
    }

    /// Members by name: their order says nothing.
    private static func sorted(_ json: JSONValue) -> JSONValue {
        switch json {
        case .array(let elements): .array(elements.map(sorted))
        case .object(let object):
            .object(
                JSONObject(
                    object.members.map { JSONMember($0.name, sorted($0.value)) }
                        .sorted { $0.name < $1.name }))
        default: json
        }
    }

    private static func body(_ hex: String) throws -> [UInt8] {
        Array(try VectorFile.bytes(hex).dropFirst(WireLimits.headerBytes))
    }

    /// The body of a reply, read as the answer to a call and written again.
    private struct Reply {
        let body: [UInt8]

        func whole<Answer: DirectoryDocument>(
            _ call: DirectoryCall<Answer>
        ) throws(ClientError) -> JSONValue { try call.answer(body).json }

        func member<Answer: DirectoryDocument>(
            _ name: String, _ call: DirectoryCall<Answer>
        ) throws(ClientError) -> JSONValue { .object([name: try call.answer(body).json]) }
    }

    private static func reread(_ call: CallName, _ body: [UInt8]) throws(ClientError) -> JSONValue {
        let reply = Reply(body: body)
        switch call {
        case .createOrganization:
            return try reply.member("organization", .createOrganization(id: ""))
        case .listOrganizations: return try reply.whole(.organizations())
        case .showOrganization: return try reply.member("organization", .organization(""))
        case .renameOrganization:
            return try reply.member("organization", .renameOrganization("", to: ""))
        case .suspendOrganization: return try reply.member("organization", .suspendOrganization(""))
        case .resumeOrganization: return try reply.member("organization", .resumeOrganization(""))
        case .deleteOrganization: return try reply.member("revocation", .deleteOrganization(""))
        case .changePlan: return try reply.whole(.changePlan(organization: "", to: ""))
        case .cancelPlanChange:
            return try reply.member("organization", .cancelPlanChange(organization: ""))
        case .setSubscription:
            return try reply.member("organization", .setSubscription(organization: ""))
        case .createUser: return try reply.member("user", .createUser(organization: "", id: ""))
        case .listUsers: return try reply.whole(.users(organization: ""))
        case .showUser: return try reply.member("user", .user("", organization: ""))
        case .renameUser: return try reply.member("user", .renameUser("", organization: "", to: ""))
        case .setUserRole:
            return try reply.member("user", .setRole(nil, user: "", organization: ""))
        case .suspendUser: return try reply.member("user", .suspendUser("", organization: ""))
        case .resumeUser: return try reply.member("user", .resumeUser("", organization: ""))
        case .deleteUser: return try reply.member("revocation", .deleteUser("", organization: ""))
        case .createKey: return try reply.whole(.createKey(organization: "", user: ""))
        case .listKeys: return try reply.whole(.keys(organization: ""))
        case .showKey: return try reply.member("key", .key("", organization: ""))
        case .rotateKey: return try reply.whole(.rotateKey("", organization: ""))
        case .editKey: return try reply.member("key", .editKey("", organization: ""))
        case .revokeKey: return try reply.member("key", .revokeKey("", organization: ""))
        default: return try reread(credentials: call, reply)
        }
    }

    private static func reread(
        credentials call: CallName, _ reply: Reply
    ) throws(ClientError) -> JSONValue {
        let none = SecretText("")
        switch call {
        case .issueTokens: return try reply.whole(.issueTokens(organization: "", user: ""))
        case .refreshTokens: return try reply.whole(.refreshTokens(none))
        case .endSession: return try reply.member("session", .endSession(none))
        case .listSessions: return try reply.whole(.sessions(organization: "", user: ""))
        case .showSession: return try reply.member("session", .session("", organization: ""))
        case .revokeSession: return try reply.whole(.revokeSession("", organization: ""))
        case .revokeToken: return try reply.whole(.revokeToken(jti: "", organization: ""))
        case .revokeUser: return try reply.whole(.revokeUser("", organization: ""))
        case .revokeOrganization: return try reply.whole(.revokeOrganization(""))
        case .listRevocations: return try reply.whole(.revocations(organization: ""))
        case .setOverride:
            return try reply.member("override", .setOverride(organization: "", limit: "", units: 0))
        case .removeOverride:
            return try reply.member("override", .removeOverride(organization: "", limit: ""))
        case .listOverrides: return try reply.whole(.overrides(organization: ""))
        case .grantCredits:
            return try reply.member("credit", .grantCredits(organization: "", quota: "", units: 1))
        case .voidCredits:
            return try reply.member("credit", .voidCredits(organization: "", id: ""))
        case .listCredits: return try reply.whole(.credits(organization: ""))
        case .addSigningKey: return try reply.member("signing_key", .addSigningKey())
        case .promoteSigningKey: return try reply.member("signing_key", .promoteSigningKey(""))
        case .retireSigningKey: return try reply.member("signing_key", .retireSigningKey(""))
        case .listSigningKeys: return try reply.whole(.signingKeys())
        case .listPlans: return try reply.whole(.plans())
        case .showPlan: return try reply.member("plan", .plan(""))
        case .listLog: return try reply.whole(.log())
        case .createBackup: return try reply.whole(.createBackup(path: ""))
        case .showStatus: return try reply.whole(.directoryStatus())
        case .exportDirectory: return try reply.whole(.exportDirectory())
        case .importDirectory: return try reply.whole(.importDirectory([]))
        case .showLedger: return try reply.member("ledger", .ledgerStatus())
        case .createSnapshot: return try reply.member("snapshot", .createSnapshot())
        case .listSnapshots: return try reply.whole(.snapshots())
        case .listUsage: return try reply.whole(.usage(period: ""))
        case .pruneUsage: return try reply.whole(.pruneUsage(period: ""))
        case .listAlerts: return try reply.whole(.alerts())
        case .acknowledgeAlert: return try reply.member("alert", .acknowledgeAlert(1))
        case .testAlerts: return try reply.member("alert", .testAlerts())
        case .createSilence: return try reply.member("silence", .createSilence(seconds: 1))
        case .listSilences: return try reply.whole(.silences())
        case .removeSilence: return try reply.member("silence", .removeSilence(1))
        case .showTop: return try reply.member("top", .top())
        default: throw .malformedReply("no call of this list")
        }
    }

    @Test func theCatalogueIsThatOfTheProtocol() throws {
        let catalogue = CallName.allCases.map { call in
            VectorFile.Call(
                call: call.rawValue, role: "\(call.role)",
                members: call.members.map {
                    $0.name + ($0.isRequired ? "" : "?") + ($0.isNullable ? "~" : "")
                })
        }
        #expect(catalogue == (try VectorFile.read().calls))
    }

    @Test func callsAreSentAsTheVectorsHaveThem() throws {
        let fields = try VectorFile.callFields()
        var calls: Set<CallName> = []
        for vector in try VectorFile.read().requests where vector.opcode == "CALL" {
            guard let body = fields[vector.name]?["body"] else { continue }
            guard case .object(let object) = try Self.value(body),
                case .string(let name)? = object["call"], let call = CallName(rawValue: name)
            else { throw DocumentError("", vector.name) }
            // In the catalogue's order, as the vector has them.
            let members = call.members.compactMap { member in
                object[member.name].map { JSONMember(member.name, $0) }
            }
            let made = try Calls.directory(.raw(call, JSONObject(members)))
            let sent = try Self.body(vector.hex)
            #expect(
                Self.sorted(try JSONValue(reading: made.body))
                    == Self.sorted(try JSONValue(reading: sent)), "\(vector.name)")
            // Foundation keeps no order of members inside of members.
            let isFlat = members.allSatisfy { $0.name != "rate" && $0.name != "records" }
            if isFlat { #expect(made.body == sent, "\(vector.name)") }
            calls.insert(call)
        }
        #expect(calls.count == CallName.allCases.count)
    }

    @Test func requestsThatAreNoneHaveTheStatusOfTheirVector() throws {
        var seen = 0
        for vector in try VectorFile.read().requests where vector.opcode == "CALL" {
            let fault = try Self.body(vector.hex).withUnsafeBytes { body -> Status? in
                do throws(DirectoryRequest.Fault) {
                    _ = try DirectoryRequest(reading: body)
                    return nil
                } catch { return error.status }
            }
            let good: [Status] = [.ok, .noDirectory, .conflict, .forbidden]
            let isGood = good.contains { $0.rawValue == vector.status }
            #expect(fault?.rawValue == (isGood ? nil : vector.status), "\(vector.name)")
            seen += isGood ? 0 : 1
        }
        #expect(seen >= 50)
    }

    @Test func documentsAreReadAsTheVectorsHaveThem() throws {
        let fields = try VectorFile.callFields()
        var seen = 0
        for vector in try VectorFile.read().replies
        where vector.opcode == "CALL" && vector.status == 0 && !vector.malformed {
            let fields = try #require(fields[vector.name])
            let call = try #require(CallName(rawValue: fields["call"] as? String ?? ""))
            let expected = try Self.value(try #require(fields["body"]))
            let read = try Self.reread(call, try Self.body(vector.hex))
            #expect(Self.sorted(read) == Self.sorted(expected), "\(vector.name)")
            seen += 1
        }
        #expect(seen >= 35)
    }

    @Test func documentsThatAreNoneAreMalformedReplies() throws {
        let fields = try VectorFile.callFields()
        let malformed = try VectorFile.read().replies.filter { $0.opcode == "CALL" && $0.malformed }
        #expect(malformed.count >= 25)
        for vector in malformed {
            let call = try #require(
                CallName(rawValue: fields[vector.name]?["call"] as? String ?? ""))
            let body = try Self.body(vector.hex)
            let error = failure { () throws(ClientError) in try Self.reread(call, body) }
            guard case .malformedReply = error else {
                Issue.record("\(vector.name): \(String(describing: error))")
                continue
            }
        }
    }

    /// Whatever comes, reading ends with a document or with `malformedReply`, never with a trap.
    @Test func noPrefixAndNoFlippedBitOfAReplyTraps() throws {
        let fields = try VectorFile.callFields()
        var taken: [String] = []
        var refused = 0
        for vector in try VectorFile.read().replies
        where vector.opcode == "CALL" && vector.status == 0 && !vector.malformed {
            let call = try #require(
                CallName(rawValue: fields[vector.name]?["call"] as? String ?? ""))
            let body = try Self.body(vector.hex)
            for length in 0..<body.count {
                let cut = Array(body[..<length])
                let error = failure { () throws(ClientError) in try Self.reread(call, cut) }
                if error == nil { taken.append("\(vector.name): \(length)") }
            }
            for index in body.indices {
                var changed = body
                changed[index] ^= 1 << UInt8(index % 8)
                let error = failure { () throws(ClientError) in try Self.reread(call, changed) }
                if error != nil { refused += 1 }
            }
        }
        #expect(taken.isEmpty)
        #expect(refused > 3_000)
    }
}
