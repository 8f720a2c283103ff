import TollgateWire

/// How one call of a worker ended.
package struct Outcome: Sendable, Equatable {
    package var status: Status
    /// Bytes of the body written to the reply: the opcode's reply, or the status' detail.
    package var bytes: Int

    package init(status: Status, bytes: Int) {
        self.status = status
        self.bytes = bytes
    }
}

/// The state of one limit as a reply carries it.
struct LimitState: BitwiseCopyable {
    /// Index into `PolicyImage.limits`; -1 is none.
    var index = -1
    var limit: UInt64 = 0
    var remaining: UInt64 = 0
    var resetMilliseconds: UInt64 = 0
    /// remaining / limit
    var fraction = Double.infinity
    var isRefused = false
    /// Of a quota, `PeriodInterval.wholeDays`.
    var periodDays: UInt8 = 0
    /// Units used, and held.
    var used: UInt64 = 0

    /// Which of two stages' states a reply shows: the one that refuses, else the tighter.
    @inline(__always)
    mutating func merge(_ other: LimitState) {
        if isRefused { return }
        if other.isRefused || other.fraction < fraction { self = other }
    }
}

/// What a request came to, until it is written.
struct Decision: BitwiseCopyable {
    var reason = Reason.none
    var flags: UInt8 = 0
    var retryMilliseconds: UInt32 = 0
    var rate = LimitState()
    var quota = LimitState()
    var user = UnsafeRawBufferPointer(start: nil, count: 0)
    var organization = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Micro-units of money that the request costs, if it is allowed.
    var cost: UInt64 = 0
    /// Indices into the policy; -1 is none.
    var plan = -1
    var operation = -1
    /// Of the audit log; 0: there is none.
    var id: UInt64 = 0
    /// What would have refused, but is in shadow: by the order of reasons the first. -1: of a
    /// permission, no limit.
    var shadowReason = Reason.none
    var shadowLimit = -1
    /// How many limits and permissions would have (`DecisionWorker.shadowed`).
    var shadowCount = 0

    /// Writes the reply of Protocol.md, "CHECK", and returns its bytes. `reply` has room for
    /// `DecisionWorker.replyBytesMax`; `explanation` is the value of the extension, or empty.
    func write(
        to reply: UnsafeMutableRawBufferPointer, _ policy: PolicyImage,
        explanation: UnsafeRawBufferPointer
    ) -> Int {
        reply[0] = (reason == .none ? Verdict.allow : Verdict.deny).rawValue
        reply[1] =
            flags | (rate.index >= 0 ? DecisionFlags.rateLimit : 0)
            | (quota.index >= 0 ? DecisionFlags.quota : 0)
        reply.storeLittle(reason.rawValue, at: 2)
        reply.storeLittle(retryMilliseconds, at: 4)
        write(rate, to: reply, at: 8)
        write(quota, to: reply, at: 32)
        var end = BodyBytes.decisionReply
        reply[56] = append(user, to: reply, &end)
        reply[57] = append(organization, to: reply, &end)
        reply[58] = 0
        if plan >= 0 {
            reply[58] = policy.plans.withName(plan) { append($0, to: reply, &end) }
        }
        reply[59] = appendName(of: rate, policy, to: reply, &end)
        reply[60] = appendName(of: quota, policy, to: reply, &end)
        reply[61] = 0
        if operation >= 0 {
            reply[61] = policy.operations.withName(operation) { append($0, to: reply, &end) }
        }
        reply.storeLittle(UInt16(0), at: 62)
        if explanation.count > 0 {
            reply[end] = ExtensionTag.explain
            reply[end + 1] = 0
            reply.storeLittle(UInt16(explanation.count), at: end + 2)
            reply.copy(explanation, to: end + BodyBytes.extensionHeader)
            end += BodyBytes.extensionHeader + explanation.count
        }
        if cost > 0, reason == .none {
            reply[end] = ExtensionTag.cost
            reply[end + 1] = 0
            reply.storeLittle(UInt16(8), at: end + 2)
            reply.storeLittle(cost, at: end + BodyBytes.extensionHeader)
            end += BodyBytes.extensionHeader + 8
        }
        if isAllowedInShadow { writeWouldDeny(to: reply, policy, &end) }
        if id != 0 {
            reply[end] = ExtensionTag.decisionID
            reply[end + 1] = 0
            reply.storeLittle(UInt16(BodyBytes.decisionID), at: end + 2)
            reply.storeLittle(id, at: end + BodyBytes.extensionHeader)
            end += BodyBytes.extensionHeader + BodyBytes.decisionID
        }
        return end
    }

    @inline(__always)
    private func write(
        _ state: LimitState, to reply: UnsafeMutableRawBufferPointer, at offset: Int
    ) {
        reply.storeLittle(state.limit, at: offset)
        reply.storeLittle(state.remaining, at: offset &+ 8)
        reply.storeLittle(state.resetMilliseconds, at: offset &+ 16)
    }

    @inline(__always)
    private func append(
        _ text: UnsafeRawBufferPointer, to reply: UnsafeMutableRawBufferPointer, _ end: inout Int
    ) -> UInt8 {
        copyName(text, to: reply, at: end)
        end &+= text.count
        return UInt8(truncatingIfNeeded: text.count)
    }

    @inline(__always)
    private func appendName(
        of state: LimitState, _ policy: PolicyImage, to reply: UnsafeMutableRawBufferPointer,
        _ end: inout Int
    ) -> UInt8 {
        guard state.index >= 0 else { return 0 }
        return policy.limits[state.index].name.withUnsafeBytes { append($0, to: reply, &end) }
    }
}
