import TollgateCore
import TollgatePolicy
import TollgateStorage
import TollgateWire

/// One policy of a replay: an engine of its own that begins empty, and knows of each open hold of
/// the log which of its own it is.
final class ReplaySide {
    struct Held {
        var id: ReservationID
        /// Held of each meter, before it is weighted.
        var units: [String: UInt64]
    }

    let definition: PolicyDefinition
    let worker: DecisionWorker
    private let image: PolicyImage
    var holds: [[UInt8]: Held] = [:]

    init(_ definition: PolicyDefinition) throws(PolicyCompileError) {
        var configuration = EngineConfiguration(hashKey: (0x7265_706c_6179, 1))
        configuration.organizationsMax = 10_000_000
        configuration.usersMax = 100_000_000
        configuration.addressesMax = 100_000_000
        let engine = Engine(configuration)
        self.definition = definition
        image = try PolicyImage(compiling: definition, generation: 1)
        _ = engine.accept(image)
        worker = engine.makeWorker()
    }

    func begin(_ moment: Moment) { worker.beginTurn(moment, policy: image) }

    func plan(_ name: String) -> PlanDefinition? {
        definition.plans.first { $0.name == name }
    }

    /// The plan has what the operation needs.
    func grants(_ plan: String, _ operation: String) -> Bool {
        guard let needed = definition.operations.first(where: { $0.name == operation })?.permission
        else { return true }
        return self.plan(plan)?.permissions.contains(needed) ?? false
    }

    func decide(_ call: ReplayCall, _ record: AuditRecord) -> ReplayAnswer {
        guard let answer = worker.replay(call) else {
            var missing = ReplayAnswer()
            missing.reason = plan(record.plan ?? "") == nil ? .planUnknown : .operationUnknown
            return missing
        }
        if let hold = record.hold, let id = answer.hold {
            holds[hold] = Held(
                id: id,
                units: Dictionary(
                    record.charges.map { ($0.meter, $0.units) }, uniquingKeysWith: { $1 }))
        }
        return answer
    }

    /// The hold ends with what was charged of it.
    func settle(_ record: AuditRecord) {
        guard let hold = record.hold, let held = holds.removeValue(forKey: hold) else { return }
        // What is charged as it was held was named by nobody.
        let named = record.charges.filter { $0.units != held.units[$0.meter] }
        _ = worker.replaySettle(
            held.id, named.map { (name: Array($0.meter.utf8), units: $0.units) })
    }

    func cancel(_ record: AuditRecord) {
        guard let hold = record.hold, let held = holds.removeValue(forKey: hold) else { return }
        worker.replayCancel(held.id)
    }

    /// It may be settled later.
    func cut(_ record: AuditRecord) {
        guard let hold = record.hold, let held = holds[hold] else { return }
        worker.replayCut(
            held.id,
            record.charges.map { (name: Array($0.meter.utf8), weighted: $0.weighted) })
    }

    /// `nil`: there is no such hold.
    func extend(_ record: AuditRecord) -> ReplayAnswer? {
        guard let hold = record.hold, var held = holds[hold] else { return nil }
        for charge in record.charges {
            let sum = held.units[charge.meter, default: 0].addingReportingOverflow(charge.units)
            guard !sum.overflow else { return nil }
            held.units[charge.meter] = sum.partialValue
        }
        let wanted = held.units.sorted { $0.key < $1.key }
        let named = wanted.map { (name: Array($0.key.utf8), units: $0.value) }
        guard let answer = worker.replayExtend(held.id, named) else { return nil }
        if answer.reason == .none { holds[hold] = held }
        return answer
    }

    /// Makes a quota count `occupied` of a subject; what it counted.
    func set(_ quota: String, of call: ReplayCall, to occupied: UInt64) -> UInt64? {
        worker.replayQuota(call, quota, setting: occupied)
    }

    func used(_ quota: String, of call: ReplayCall) -> UInt64? { worker.replayQuota(call, quota) }
}
