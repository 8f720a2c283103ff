import Synchronization
import Testing
import TollgateWire

@testable import TollgateClient

/// Reservations and idempotency ids in both clients, against a daemon that says what a test wants.
@Suite(.serialized) struct ReservationTests {
    private struct Stopped: Error, Equatable {}

    /// What a daemon was asked, and what it answers by opcode: a vector's body, or a status.
    private final class Script: Sendable {
        let asked = Mutex<[FakePeer.Request]>([])
        private let bodies: [UInt8: [UInt8]]
        private let refusals: [UInt8: Status]
        /// How many connections end once they have taken a request.
        private let lost: Int

        init(
            _ answers: [Opcode: String] = [:], refusals: [Opcode: Status] = [:], lost: Int = 0
        ) throws {
            var named: [Opcode: String] = [
                .check: "allow-limits", .consume: "consumed", .reserve: "reserved",
                .extend: "extended", .settle: "settled", .cancel: "canceled",
            ]
            named.merge(answers) { $1 }
            let vectors = try VectorFile.read().replies
            var bodies: [UInt8: [UInt8]] = [:]
            for (opcode, name) in named {
                let hex = try #require(vectors.first { $0.name == name }).hex
                bodies[opcode.rawValue] = Array(
                    try VectorFile.bytes(hex).dropFirst(WireLimits.headerBytes))
            }
            self.bodies = bodies
            self.refusals = Dictionary(
                uniqueKeysWithValues: refusals.map { ($0.key.rawValue, $0.value) })
            self.lost = lost
        }

        func serve(_ peer: FakePeer) {
            while let request = peer.request() {
                asked.withLock { $0.append(request) }
                if peer.number <= lost { return peer.end() }
                if let status = refusals[request.opcode] {
                    peer.answer(request, [], status: status)
                } else {
                    peer.answer(request, bodies[request.opcode])
                }
            }
        }

        var opcodes: [Opcode?] { asked.withLock { $0.map { Opcode(rawValue: $0.opcode) } } }
        var requests: [[UInt8]] { asked.withLock { $0.map(\.body) } }
    }

    private func with(
        _ script: Script, _ work: (BlockingClient, AsyncClient) async throws -> Void
    ) async throws {
        let daemon = try FakeDaemon { script.serve($0) }
        defer { daemon.stop() }
        try await work(
            BlockingClient(path: daemon.path, timeoutMilliseconds: 20_000),
            AsyncClient(path: daemon.path, timeoutMilliseconds: 20_000))
    }

    private static let request = ReservationRequest(
        CheckQuestion(
            token: "t", operation: .name("chat"), meters: [MeterUnits("tokens", 500)]))

    private func id() throws -> ReservationID {
        try #require(ReservationID(Array(1...16)))
    }

    // MARK: withReservation

    @Test func aReservationIsSettledAtItsEstimateWhereTheWorkDidNot() async throws {
        let script = try Script()
        try await with(script) { blocking, pipelined in
            let first = try blocking.withReservation(Self.request) { _ in 7 }
            let second = try await pipelined.withReservation(Self.request) { _ in 8 }
            #expect(first == 7 && second == 8)
        }
        #expect(script.opcodes == [.reserve, .settle, .reserve, .settle])
        // No meter: at the estimate.
        #expect(script.requests[1][16] == 0 && script.requests[3][16] == 0)
    }

    @Test func aReservationIsCanceledWhereTheWorkThrows() async throws {
        let script = try Script()
        try await with(script) { blocking, pipelined in
            #expect(throws: Stopped()) {
                try blocking.withReservation(Self.request) { _ in throw Stopped() }
            }
            await #expect(throws: Stopped()) {
                try await pipelined.withReservation(Self.request) { _ in throw Stopped() }
            }
        }
        #expect(script.opcodes == [.reserve, .cancel, .reserve, .cancel])
    }

    @Test func whatTheWorkSettledIsLeftAsItIs() async throws {
        let script = try Script()
        try await with(script) { blocking, pipelined in
            try blocking.withReservation(Self.request) { open in
                let goesOn = try open.extend([HeldUnits("tokens", 1_000, used: 450)])
                let settled = try open.settle([MeterUnits("tokens", 731)])
                #expect(goesOn && settled.costMicroUnits == 1_827_500 && !open.isOpen)
            }
            await #expect(throws: Stopped()) {
                try await pipelined.withReservation(Self.request) { open in
                    try await open.settle([MeterUnits("tokens", 731)])
                    throw Stopped()
                }
            }
        }
        #expect(script.opcodes == [.reserve, .extend, .settle, .reserve, .settle])
    }

    @Test func whatIsDeniedIsNotBegun() async throws {
        let script = try Script([.reserve: "reserve-concurrency"])
        try await with(script) { blocking, pipelined in
            let denied = #expect(throws: ReservationDenied.self) {
                try blocking.withReservation(Self.request) { _ in
                    Issue.record("begun")
                }
            }
            #expect(denied?.decision.reason == .concurrencyExceeded)
            await #expect(throws: ReservationDenied.self) {
                try await pipelined.withReservation(Self.request) { _ in
                    Issue.record("begun")
                }
            }
        }
        #expect(script.opcodes == [.reserve, .reserve])
    }

    @Test func aDryRunHoldsNothingAndEndsNothing() async throws {
        let script = try Script([.reserve: "reserve-would"])
        try await with(script) { blocking, _ in
            try blocking.withReservation(Self.request) { open in
                let error = failure { () throws(ClientError) in try open.settle() }
                guard case .invalidRequest = error else {
                    Issue.record("settled what is not held")
                    return
                }
            }
        }
        #expect(script.opcodes == [.reserve])
    }

    @Test func aCancelThatFailsHidesNotWhatTheWorkThrew() async throws {
        let script = try Script(refusals: [.cancel: .conflict])
        try await with(script) { blocking, pipelined in
            #expect(throws: Stopped()) {
                try blocking.withReservation(Self.request) { _ in throw Stopped() }
            }
            await #expect(throws: Stopped()) {
                try await pipelined.withReservation(Self.request) { _ in throw Stopped() }
            }
        }
        #expect(script.opcodes == [.reserve, .cancel, .reserve, .cancel])
    }

    @Test func extendSaysToStopWhereTheReservationHasEnded() async throws {
        let answers: [(Script, Bool)] = [
            (try Script(), true), (try Script([.extend: "extend-stop"]), false),
            (try Script(refusals: [.extend: .notFound]), false),
            (try Script(refusals: [.extend: .conflict]), false),
        ]
        for (script, goesOn) in answers {
            try await with(script) { blocking, pipelined in
                let first = try blocking.withReservation(Self.request) { try $0.extend() }
                let second = try await pipelined.withReservation(Self.request) {
                    try await $0.extend()
                }
                #expect(first == goesOn && second == goesOn)
            }
        }
        let broken = try Script(refusals: [.extend: .malformedBody])
        try await with(broken) { blocking, _ in
            #expect(throws: ClientError.self) {
                try blocking.withReservation(Self.request) { _ = try $0.extend() }
            }
        }
    }

    // MARK: repetition

    @Test func aRequestThatIsKnownAgainIsSentAgainAsItWas() async throws {
        var question = CheckQuestion(token: "t", operation: .name("chat"))
        question.idempotencyID = .random()
        let consumption = Consumption(
            organization: "acme", user: "ada", plan: "pro_tier", operation: "chat",
            meters: [MeterUnits("tokens", 731)], idempotencyID: .random())
        let known = question
        let id = try id()
        let requests: [@Sendable (BlockingClient) throws -> CheckDecision] = [
            { try $0.check(known) }, { try $0.consume(consumption) },
            { try $0.reserve(ReservationRequest(known)) }, { try $0.extend(id) },
            { try $0.settle(id) }, { try $0.cancel(id) },
        ]
        for ask in requests {
            let script = try Script(lost: 1)
            try await with(script) { blocking, _ in
                let decision = try ask(blocking)
                #expect(decision.isAllowed)
            }
            #expect(script.requests.count == 2 && Set(script.requests).count == 1)
        }
        let pipelined: [@Sendable (AsyncClient) async throws -> CheckDecision] = [
            { try await $0.check(known) }, { try await $0.consume(consumption) },
            { try await $0.reserve(ReservationRequest(known)) }, { try await $0.extend(id) },
            { try await $0.settle(id) }, { try await $0.cancel(id) },
        ]
        for ask in pipelined {
            let script = try Script(lost: 1)
            try await with(script) { _, client in
                let decision = try await ask(client)
                #expect(decision.isAllowed)
            }
            #expect(script.requests.count == 2 && Set(script.requests).count == 1)
        }
    }

    @Test func aRequestThatIsNotKnownAgainIsSentOnce() async throws {
        let question = CheckQuestion(token: "t", operation: .name("chat"))
        let script = try Script(lost: 2)
        try await with(script) { blocking, pipelined in
            #expect(blocking.checkFailure(question) == .disconnected)
            #expect(await pipelined.checkFailure(question) == .disconnected)
        }
        #expect(script.opcodes == [.check, .check])
    }

    @Test func itIsRepeatedOnceAndNotForEver() async throws {
        var question = CheckQuestion(token: "t", operation: .name("chat"))
        question.idempotencyID = .random()
        let script = try Script(lost: 9)
        try await with(script) { _, pipelined in
            #expect(await pipelined.checkFailure(question) == .disconnected)
        }
        #expect(script.requests.count == 2)
    }

    // MARK: arguments

    @Test func whatIsOutOfRangeIsNotSent() throws {
        let id = try id()
        let many = (0..<17).map { "m\($0)" }
        let long = String(repeating: "m", count: 129)
        let errors = [
            failure { () throws(ClientError) in
                try Calls.extend(
                    id, many.map { HeldUnits($0, 1) }, timeToLiveMilliseconds: 0, explains: false)
            },
            failure { () throws(ClientError) in
                try Calls.extend(
                    id, [HeldUnits(long, 1)], timeToLiveMilliseconds: 0, explains: false)
            },
            failure { () throws(ClientError) in
                try Calls.settle(id, many.map { MeterUnits($0, 1) }, explains: false)
            },
            failure { () throws(ClientError) in
                try Calls.settle(id, [MeterUnits("", 1)], explains: false)
            },
        ]
        for error in errors {
            guard case .invalidRequest = error else {
                Issue.record("an argument out of range was let through")
                continue
            }
        }
    }

    @Test func idsAreSixteenBytes() throws {
        for text in ["", "0", "00", "0g", String(repeating: "0", count: 31),
            String(repeating: "0", count: 33), String(repeating: "0", count: 34),
            String(repeating: "x", count: 32), String(repeating: "é", count: 16)] {
            #expect(ReservationID(hexadecimal: text) == nil, "\(text)")
        }
        let id = try #require(ReservationID(hexadecimal: "00ff10Abcdef0123456789abcdef0123"))
        #expect(id.description == "00ff10abcdef0123456789abcdef0123")
        #expect(ReservationID(Array(0..<15)) == nil && ReservationID(Array(0..<17)) == nil)
        #expect(IdempotencyID([UInt8](repeating: 0, count: 16)) == nil)
        #expect(IdempotencyID([1]) == nil)
        let drawn = Set((0..<1_000).map { _ in IdempotencyID.random() })
        #expect(drawn.count == 1_000)
    }
}
