import CLinux
import TollgateCore
import TollgatePolicy
import TollgateStorage
import TollgateWire

/// Takes alerts out of the spool and to the sinks, and says what fails and when that is over.
struct DeliveryRound {
    private var settings: AlertSinks
    private var sinks: [SinkSender]
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
        self.settings = settings
        self.sinks = sinks
        self.spool = spool
        delivery = Self.delivery(settings)
        troubles = sinks.map { _ in nil }
    }

    private static func delivery(_ settings: AlertSinks) -> AlertDelivery {
        AlertDelivery(
            sinks: settings.sinks.count, firstMilliseconds: settings.firstMilliseconds,
            longestMilliseconds: settings.longestMilliseconds)
    }

    /// Other sinks, or the same with their files read again, from now on; whether they are others.
    /// What waits goes to each of them at which it has not arrived, without a rest before.
    mutating func take(_ settings: AlertSinks, _ sinks: [SinkSender]) -> Bool {
        let known = zip(self.sinks, troubles).map { (name: $0.name, trouble: $1) }
        let areOthers = settings != self.settings
        self.settings = settings
        self.sinks = sinks
        delivery = Self.delivery(settings)
        troubles = sinks.map { sink in known.first { $0.name == sink.name }?.trouble }
        return areOthers
    }

    /// Delivers what can be now; how long until there may be more.
    mutating func run(now: UInt64) -> UInt64 {
        // To be kept for those that come.
        guard !sinks.isEmpty else { return .max }
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
    mutating func say(_ failure: AuditFailure?) {
        let words = failure.map { "spool: \($0)" }
        if let words, spoolTrouble != words { Console.printError(words) }
        spoolTrouble = words
    }
}
