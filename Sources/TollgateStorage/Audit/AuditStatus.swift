/// How an audit log is doing. Numbers are of this life, but for segments and bytes.
package struct AuditStatus: Sendable, Equatable {
    /// Decisions that were written.
    package var recorded: UInt64 = 0
    /// Decisions that were left out, for want of room.
    package var dropped: UInt64 = 0
    /// Requests that were refused, and not recorded, for want of room.
    package var refused: UInt64 = 0
    /// What waits in the rings.
    package var waitingBytes = 0
    package var segments = 0
    package var bytes: Int64 = 0
    /// Wall clock of the newest decision that was written, milliseconds since 1970; 0: none.
    package var newestDecision: Int64 = 0
    /// Wall clock when all that was written was last made durable; 0: never.
    package var lastSyncMilliseconds: Int64 = 0
    /// Why what was found at the start is not proven to be what was written; `nil`: it is.
    package var doubt: String?
    /// What is wrong, while the disk takes nothing.
    package var failure: String?

    package init() {}
}
