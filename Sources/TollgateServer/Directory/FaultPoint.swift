import Glibc
import Synchronization
import TollgateStorage

/// Where the daemon can be cut short between a call and its reply, beside the steps of every change
/// in the store (`DirectoryStep`). Tests end the process there, and look at what a start finds.
package enum ServiceStep: String, Sendable, CaseIterable {
    // A signing key's file.
    case keyWritten = "key_written"
    case keySynced = "key_synced"
    case keyRenamed = "key_renamed"
    case keyDurable = "key_durable"
    case keyRemoved = "key_removed"
    // A batch of calls.
    case published
    case replied
}

/// Ends the process as `kill -9` would, the n-th time that a step is reached:
/// `TOLLGATE_FAULT_STEP=<step>:<n>`. Only in debug builds; what operators run does not know the
/// variable.
package struct FaultPoint: Sendable {
    package static let variable = "TOLLGATE_FAULT_STEP"
    /// Every step that can be named.
    package static let steps =
        DirectoryStep.allCases.map(\.rawValue) + ServiceStep.allCases.map(\.rawValue)

    let step: String
    let times: Int

    /// `nil` unless it is a step that there is, and a number above 0.
    package init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let times = Int(parts[1]), times > 0,
            Self.steps.contains(String(parts[0]))
        else { return nil }
        step = String(parts[0])
        self.times = times
    }

    /// What the environment asks for; `nil` in a build for use.
    package static func asked(_ environment: (String) -> String?) -> FaultPoint? {
        #if DEBUG
            return environment(variable).flatMap { FaultPoint($0) }
        #else
            return nil
        #endif
    }
}

/// Counts the steps of the directory's thread, and is told of each by name: those of the start and
/// of calls. What the daemon does by the clock is not counted, so that a number means the same each
/// time.
final class StepCounter: Sendable {
    private let fault: FaultPoint?
    private let reached = Atomic<Int>(0)
    private let isCounting = Atomic<Bool>(true)
    /// For tests within the process: called at every step.
    let onStep: (@Sendable (String) -> Void)?

    init(_ fault: FaultPoint?, onStep: (@Sendable (String) -> Void)? = nil) {
        self.fault = fault
        self.onStep = onStep
    }

    /// The start is over.
    func endStart() { isCounting.store(false, ordering: .relaxed) }

    /// Carries out what somebody asked for.
    func counting(_ body: () -> Void) {
        isCounting.store(true, ordering: .relaxed)
        body()
        isCounting.store(false, ordering: .relaxed)
    }

    func reach(_ step: String) {
        onStep?(step)
        guard let fault, fault.step == step, isCounting.load(ordering: .relaxed) else { return }
        if reached.add(1, ordering: .relaxed).newValue == fault.times { kill(getpid(), SIGKILL) }
    }

    func reach(_ step: ServiceStep) { reach(step.rawValue) }
}
