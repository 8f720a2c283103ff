import Glibc
import Synchronization

/// Whether the user asked a long command to stop (INT, TERM). The first time it ends where it can
/// say how to go on; the second time at once.
enum Interruption {
    private static let flag = Atomic<Bool>(false)

    static var isAsked: Bool { flag.load(ordering: .relaxed) }

    /// A read that waits is interrupted too.
    static func watch() {
        _ = isAsked  // Made here: a handler may not be the first to touch it.
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in
            Interruption.flag.store(true, ordering: .relaxed)
        }
        action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
        sigaction(SIGINT, &action, nil)
        sigaction(SIGTERM, &action, nil)
    }
}
