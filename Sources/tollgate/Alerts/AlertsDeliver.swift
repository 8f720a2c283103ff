import ArgumentParser
import CLinux
import COpenSSL
import Glibc
import TollgateCore
import TollgatePolicy
import TollgateStorage
import TollgateWire

struct AlertsDeliver: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "deliver", abstract: "Deliver alerts to the policy's sinks.",
        discussion: """
            A service of its own beside the daemon, which only puts alerts into a directory \
            (spool, in that of the alerts). Each goes to every sink at least once, with an id that \
            stays the same; a sink that fails is asked again until it takes it. Of the policy it \
            reads the alerts alone, and of keys those of the sinks. Webhooks are sent by curl.
            """)

    @Option(
        name: .shortAndLong,
        help: "The policy file (default: TOLLGATE_CONFIG, or /etc/tollgate/tollgate.yaml).",
        completion: .file())
    var config: String?
    @OptionGroup var output: OutputOptions
    @Flag(help: "Deliver what can be now, and end: 0 when nothing is left, else 1.")
    var once = false

    /// How often the spool is looked at.
    private static let roundMilliseconds: UInt64 = 250

    func run() throws {
        signal(SIGPIPE, SIG_IGN)
        EndSignals.hold()
        // URLs and secrets of sinks: in no core dump, of this process or of curl.
        guard tg_no_core() == 0, tg_set_not_dumpable() == 0 else {
            throw Failure(.unexpected, "core dumps cannot be turned off: \(systemText(errno))")
        }
        let path = try Input.policyPath(config)
        let settings: AlertDeliverySettings?
        do throws(PolicyErrors) { settings = try AlertDeliverySettings.load(path: path) } catch {
            throw Failure(.configuration, "\(error)", next: "mend the policy")
        }
        guard let settings, !settings.sinks.sinks.isEmpty else {
            throw Failure(
                .configuration, "the policy \(path) has no sinks of alerts",
                next: "add alerts: with sinks:, and start the daemon again")
        }
        let sinks = try settings.sinks.sinks.map {
            try SinkSender($0, settings.sinks.source, isJSON: output.json)
        }
        let spool = AlertSpool(AlertSinks.spool(settings.path))
        let lock: any DiskLock
        do throws(AuditFailure) { lock = try spool.lock() } catch {
            guard error.kind == .locked else { throw Failure(error) }
            throw Failure(
                .tryAgain, "another process delivers from \(spool.directory)",
                next: "one at a time: end the other first")
        }
        defer { withExtendedLifetime(lock) {} }
        var round = DeliveryRound(settings.sinks, sinks, spool)
        if once {
            let isEmpty = try round.tryOnce()
            if !isEmpty { throw ExitCode(1) }
            return
        }
        Console.printError("delivering alerts from \(spool.directory) to \(sinks.count) sinks")
        while true {
            let rest = round.run(now: tg_boottime() / 1_000_000)
            EndSignals.release()
            usleep(UInt32(min(rest, Self.roundMilliseconds)) * 1_000)
            EndSignals.hold()
        }
    }
}

/// Takes alerts out of the spool and to the sinks, and says what fails and when that is over.
struct DeliveryRound {
    private let sinks: [SinkSender]
    private let spool: AlertSpool
    private var delivery: AlertDelivery
    /// By sink: why it fails, as it was said.
    private var troubles: [String?]
    private var spoolTrouble: String?
    /// In the spool, and not to be taken out of it by this process.
    private var left: Set<UInt64> = []
    /// They arrived everywhere, and the spool has them still.
    private var finished: Set<UInt64> = []

    init(_ settings: AlertSinks, _ sinks: [SinkSender], _ spool: AlertSpool) {
        self.sinks = sinks
        self.spool = spool
        delivery = AlertDelivery(
            sinks: sinks.count, firstMilliseconds: settings.firstMilliseconds,
            longestMilliseconds: settings.longestMilliseconds)
        troubles = sinks.map { _ in nil }
    }

    /// Delivers what can be now; how long until there may be more.
    mutating func run(now: UInt64) -> UInt64 {
        do throws(AuditFailure) {
            let trouble = try takeNew()
            while let attempt = delivery.next(now: tg_boottime() / 1_000_000) {
                EndSignals.endIfAsked()
                _ = try attemptOne(attempt)
            }
            say(trouble)
        } catch { say(error) }
        return delivery.nextAt.map { $0 > now ? $0 - now : 1 } ?? .max
    }

    /// A sink that refuses so many is asked no more by who tries once.
    private static let refusalsMax = 20

    /// Tries each alert once, at sinks that can be reached; whether nothing is left.
    mutating func tryOnce() throws -> Bool {
        try onAudit { () throws(AuditFailure) in
            say(try takeNew())
            var tried: Set<AlertDelivery.Attempt> = []
            var out: Set<Int> = []
            var refusals = sinks.map { _ in 0 }
            while let attempt = delivery.next(beyond: tried, out: out) {
                EndSignals.endIfAsked()
                tried.insert(attempt)
                switch try attemptOne(attempt) {
                case nil: break
                case .sink: out.insert(attempt.sink)
                case .alert:
                    refusals[attempt.sink] += 1
                    if refusals[attempt.sink] == Self.refusalsMax { out.insert(attempt.sink) }
                }
            }
            try spool.remove(strays: try spool.contents().strays)
        }
        return delivery.isEmpty && left.isEmpty && spoolTrouble == nil
    }

    /// What the disk refuses of single ones is given, and is not in the way of the others.
    private mutating func takeNew() throws(AuditFailure) -> AuditFailure? {
        let contents = try spool.contents()
        let entries = contents.entries
        try spool.remove(strays: contents.strays)
        finished.formIntersection(entries.map(\.id))
        left.formIntersection(entries.map(\.id))
        var trouble: AuditFailure?
        for entry in entries where !delivery.knows(entry.id) && !left.contains(entry.id) {
            if finished.contains(entry.id) {
                try spool.remove(entry.id, marks: entry.done)
                continue
            }
            let alert: AlertInfo
            switch read(entry.id) {
            case .alert(let found): alert = found
            case .none: continue
            case .refused(let failure):
                trouble = trouble ?? failure
                continue
            }
            let wanted = sinks.indices.filter {
                !entry.done.contains(sinks[$0].name) && sinks[$0].wants(alert)
            }
            guard !wanted.isEmpty else {
                try spool.remove(entry.id, marks: entry.done)
                continue
            }
            delivery.add(entry.id, to: wanted)
        }
        return trouble
    }

    private enum Found {
        case alert(AlertInfo)
        /// It is gone, or not to be delivered.
        case none
        /// By the disk, for now.
        case refused(AuditFailure)
    }

    /// What is no alert is set aside; what a later version put there is left, and said once.
    private mutating func read(_ id: UInt64) -> Found {
        var document: JSONValue?
        do throws(AuditFailure) {
            guard let bytes = try spool.read(id) else { return .none }
            do {
                let read = try bytes.withUnsafeBytes { try JSONValue(reading: $0) }
                document = read
                return .alert(try AlertInfo(json: read))
            } catch {}
        } catch {
            guard error.kind == .damaged else { return .refused(error) }
        }
        if case .object? = document {
            if left.insert(id).inserted {
                Console.printError(
                    "alert \(id) is of another version, and waits for one that knows it: install"
                        + " that, and start this again")
            }
            return .none
        }
        do throws(AuditFailure) {
            let path = try spool.setAside(id)
            Console.printError("alert \(id) in the spool is damaged, and is now \(path)")
            return .none
        } catch { return .refused(error) }
    }

    /// `nil`: it arrived, or was taken out of the spool meanwhile.
    private mutating func attemptOne(
        _ attempt: AlertDelivery.Attempt
    ) throws(AuditFailure) -> AlertDelivery.Failure? {
        let sink = sinks[attempt.sink]
        let result: (AlertDelivery.Failure, String)?
        switch read(attempt.alert) {
        case .alert(let alert): result = sink.send(alert)
        case .none:
            _ = delivery.delivered(attempt)
            return nil
        case .refused(let failure): result = (.alert, "\(failure)")
        }
        switch result {
        case nil:
            if troubles[attempt.sink] != nil {
                Console.printError("sink \(sink.name): works again")
                troubles[attempt.sink] = nil
            }
            // First in memory: whatever the disk says, it is not to arrive there again.
            if delivery.delivered(attempt) {
                finished.insert(attempt.alert)
                try spool.remove(attempt.alert, marks: sinks.map(\.name))
            } else {
                try spool.mark(attempt.alert, sink: sink.name)
            }
            return nil
        case (let failure, let words)?:
            let rest = delivery.failed(
                attempt, failure, now: tg_boottime() / 1_000_000,
                random: UInt64.random(in: 0...(.max)))
            if troubles[attempt.sink] != words {
                Console.printError(
                    "sink \(sink.name): \(words); alert \(attempt.alert) is tried again in"
                        + " \(span(rest)), and until it arrives")
                troubles[attempt.sink] = words
            }
            return failure
        }
    }

    /// Once for as long as it stays the same.
    private mutating func say(_ failure: AuditFailure?) {
        let words = failure.map { "spool: \($0)" }
        if let words, spoolTrouble != words { Console.printError(words) }
        spoolTrouble = words
    }
}

/// A sink with what it needs read from its files.
struct SinkSender {
    private let sink: AlertSink
    private let source: String
    private let isJSON: Bool
    private let url: String
    private let secret: SecretBytes?

    var name: String { sink.name }

    /// Throws what is wrong with its files; names them, and nothing that is in them.
    init(_ sink: AlertSink, _ source: String, isJSON: Bool) throws {
        self.sink = sink
        self.source = source
        self.isJSON = isJSON
        guard case .webhook(let hook) = sink.way else {
            url = ""
            secret = nil
            return
        }
        do throws(KeyFileFault) {
            let files = try AlertSinkFiles(hook)
            url = files.url
            secret = files.secret
        } catch { throw Failure(.configuration, "sink \(sink.name): \(error.message)") }
    }

    /// A test goes everywhere.
    func wants(_ alert: AlertInfo) -> Bool {
        let order = AlertInfo.Severity.allCases
        guard alert.kind != .test, let least = AlertInfo.Severity(rawValue: sink.severityMin.word),
            let bound = order.firstIndex(of: least),
            let place = order.firstIndex(of: alert.severity)
        else { return true }
        return place >= bound
    }

    /// `nil` when it arrived.
    func send(_ alert: AlertInfo) -> (AlertDelivery.Failure, String)? {
        let payload = AlertPayload(alert: alert, source: source)
        switch sink.way {
        case .log:
            let line =
                isJSON
                ? String(decoding: payload.event, as: UTF8.self)
                : visible(payload.line, onOneLine: true)
            do { try Console.print(line) } catch {
                return (.sink(retryAfter: nil), "standard output takes nothing")
            }
            return nil
        case .command(let words): return Self.run(words, payload, sink.timeoutMilliseconds)
        case .webhook(let hook):
            return post(payload, hook.isSlack ? payload.slack : payload.event, hook)
        }
    }

    private static func run(
        _ words: [String], _ payload: AlertPayload, _ milliseconds: UInt64
    ) -> (AlertDelivery.Failure, String)? {
        let outcome = ChildProcess.run(words, input: payload.event, milliseconds: milliseconds)
        switch outcome {
        case .ended(0, _): return nil
        case .ended(let code, _): return (.alert, "its command ended with exit code \(code)")
        case .killed(let signal): return (.alert, "its command was ended by signal \(signal)")
        case .timedOut:
            return (.alert, "its command took longer than \(span(milliseconds)), and was ended")
        case .notStarted(let error):
            return (.sink(retryAfter: nil), "its command cannot be started: \(systemText(error))")
        }
    }

    private func post(
        _ payload: AlertPayload, _ body: [UInt8], _ hook: AlertSink.Webhook
    ) -> (AlertDelivery.Failure, String)? {
        let timestamp = tg_walltime() / 1_000
        var headers = [
            (
                "Content-Type",
                hook.isSlack ? "application/json" : "application/cloudevents+json; charset=utf-8"
            ),
            ("User-Agent", "tollgate"), ("webhook-id", payload.id),
            ("webhook-timestamp", "\(timestamp)"),
        ]
        if let secret {
            let signature = WebhookSignature.header(
                secret, id: payload.id, timestamp: timestamp, body: body)
            guard let signature else { return (.sink(retryAfter: nil), "it cannot be signed") }
            headers.append(("webhook-signature", signature))
        }
        let request = CurlRequest(
            url: url, headers: headers.map { (name: $0.0, value: $0.1) }, body: body,
            milliseconds: sink.timeoutMilliseconds)
        switch request.send() {
        case .failed(let words): return (.sink(retryAfter: nil), words)
        case .answered(200..<300, _): return nil
        case .answered(let status, let seconds):
            let words = "the receiver answers with status \(status)"
            let retryAfter = seconds.map { $0.multipliedReportingOverflow(by: 1_000) }
            let milliseconds = retryAfter.map { $0.overflow ? UInt64.max : $0.partialValue }
            let isBusy = status == 429 || status == 408 || status >= 500
            if isBusy || milliseconds != nil { return (.sink(retryAfter: milliseconds), words) }
            return (.alert, words)
        }
    }
}
