import TollgateWire

extension DecisionWorker {
    /// Reads the meters and the extension fields behind them up to the end of the body, into
    /// `meters` and `idempotencyID`. EXTEND's meters have two numbers each; CHECK, CONSUME and
    /// RESERVE take an idempotency id.
    func readMeters(
        _ body: UnsafeRawBufferPointer, at offset: Int, count: Int, _ policy: PolicyImage,
        of opcode: Opcode = .check
    ) throws(Refusal) {
        meterCount = 0
        idempotencyID = .none
        if count == 0, offset == body.count { return }
        var reader = ByteReader(body, at: offset)
        for _ in 0..<count {
            guard let length = reader.read(UInt8.self), let name = reader.take(Int(length)),
                let units = reader.read(UInt64.self)
            else { throw Refusal(.malformedBody, "the meters run past the end of the frame") }
            var used: UInt64 = 0
            if opcode == .extend {
                guard let reported = reader.read(UInt64.self) else {
                    throw Refusal(.malformedBody, "the meters run past the end of the frame")
                }
                used = reported
            }
            guard (1...WireLimits.identifierBytesMax).contains(Int(length)) else {
                throw Refusal(.malformedBody, "a meter's name is 1 to 128 bytes long")
            }
            guard let meter = policy.meters.find(name) else {
                throw Refusal(.unknownMeter, "the policy defines no meter of that name")
            }
            guard units <= WireLimits.unitsMax, used <= WireLimits.unitsMax else {
                throw Refusal(.unitsOutOfRange, "units of a meter are at most 2^40")
            }
            for index in 0..<meterCount where meters[index].meter == meter {
                throw Refusal(.malformedBody, "a meter is named twice")
            }
            meters[meterCount] = RequestedMeter(meter: meter, units: units, used: used)
            meterCount &+= 1
        }
        switch opcode {
        case .check, .consume, .reserve: idempotencyID = try Self.readID(&reader)
        default: try Self.skipExtensions(&reader)
        }
    }

    /// One extension field.
    private struct Extension {
        var tag: UInt8
        var isCritical: Bool
        var value: UnsafeRawBufferPointer

        init(_ reader: inout ByteReader) throws(Refusal) {
            guard let tag = reader.read(UInt8.self), let flags = reader.read(UInt8.self),
                let length = reader.read(UInt16.self)
            else {
                throw Refusal(.malformedBody, "bytes behind the body that are no extension field")
            }
            guard let value = reader.take(Int(length)) else {
                throw Refusal(.malformedBody, "an extension field runs past the end of the frame")
            }
            guard flags & ~ExtensionFlags.critical == 0 else {
                throw Refusal(.unsupportedField, "unknown flag of an extension field")
            }
            self.tag = tag
            self.value = value
            isCritical = flags & ExtensionFlags.critical != 0
        }

        func skip() throws(Refusal) {
            guard !isCritical else {
                throw Refusal(.unsupportedField, "a critical extension field that is not known")
            }
        }
    }

    /// For requests that know no extension field: critical ones are refused.
    package static func skipExtensions(_ reader: inout ByteReader) throws(Refusal) {
        while reader.remaining > 0 { try Extension(&reader).skip() }
    }

    /// For requests that may carry an idempotency id.
    private static func readID(_ reader: inout ByteReader) throws(Refusal) -> IdempotencyID {
        var id = IdempotencyID.none
        while reader.remaining > 0 {
            let field = try Extension(&reader)
            guard field.tag == ExtensionTag.idempotencyID else {
                try field.skip()
                continue
            }
            guard id.isNone else { throw Refusal(.malformedBody, "two idempotency ids") }
            guard field.value.count == BodyBytes.idempotencyID else {
                throw Refusal(.malformedBody, "an idempotency id has 16 bytes")
            }
            id = IdempotencyID(field.value)
            guard !id.isNone else {
                throw Refusal(.malformedBody, "an idempotency id of zeros")
            }
        }
        return id
    }

    /// Weighted units of each of the operation's charges: those named, else the default.
    func setUnits(
        _ operation: CompiledOperation, _ policy: PolicyImage, defaults: Bool = true
    ) throws(Refusal) {
        let start = Int(operation.chargeStart)
        let count = Int(operation.chargeCount)
        for index in 0..<count {
            units[index] = defaults ? policy.charges[start &+ index].defaultWeighted : 0
            plainUnits[index] = defaults ? policy.charges[start &+ index].defaultUnits : 0
        }
        for named in 0..<meterCount {
            var known = false
            for index in 0..<count
            where Int(policy.charges[start &+ index].meter) == meters[named].meter {
                let (weighted, overflow) = meters[named].units.multipliedReportingOverflow(
                    by: policy.charges[start &+ index].weight)
                guard !overflow else {
                    throw Refusal(.unitsOutOfRange, "units times weight leave 64 bits")
                }
                units[index] = weighted
                plainUnits[index] = meters[named].units
                known = true
            }
            guard known else {
                throw Refusal(.unknownMeter, "the operation does not charge a meter of that name")
            }
        }
    }

    /// What the request's units cost under the plan, as a charge behind the operation's others;
    /// after `setUnits`.
    @inline(__always)
    func setCost(
        plan: Int, _ operation: CompiledOperation, _ policy: PolicyImage,
        _ decision: inout Decision
    ) throws(Refusal) {
        let start = Int(policy.compiledPlans[plan].priceStart)
        guard start >= 0 else { return }
        decision.cost = try cost(start, operation, policy)
        units[Int(operation.chargeCount)] = decision.cost
    }

    /// Micro-units of money.
    private func cost(
        _ start: Int, _ operation: CompiledOperation, _ policy: PolicyImage
    ) throws(Refusal) -> UInt64 {
        var sum: UInt64 = 0
        for index in 0..<Int(operation.chargeCount) {
            let meter = Int(policy.charges[Int(operation.chargeStart) &+ index].meter)
            let (cost, tooMuch) = plainUnits[index].multipliedReportingOverflow(
                by: policy.prices[start &+ meter])
            let (next, overflow) = sum.addingReportingOverflow(cost)
            guard !tooMuch, !overflow else {
                throw Refusal(.unitsOutOfRange, "units times prices leave 64 bits")
            }
            sum = next
        }
        return sum
    }
}
