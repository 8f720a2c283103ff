import TollgateWire

extension DecisionWorker {
    /// Reads the meters and the extension fields behind them up to the end of the body.
    func readMeters(
        _ body: UnsafeRawBufferPointer, at offset: Int, count: Int, _ policy: PolicyImage
    ) throws(Refusal) {
        meterCount = 0
        if count == 0, offset == body.count { return }
        var reader = ByteReader(body, at: offset)
        for _ in 0..<count {
            guard let length = reader.read(UInt8.self), let name = reader.take(Int(length)),
                let units = reader.read(UInt64.self)
            else { throw Refusal(.malformedBody, "the meters run past the end of the frame") }
            guard (1...WireLimits.identifierBytesMax).contains(Int(length)) else {
                throw Refusal(.malformedBody, "a meter's name is 1 to 128 bytes long")
            }
            guard let meter = policy.meters.find(name) else {
                throw Refusal(.unknownMeter, "the policy defines no meter of that name")
            }
            guard units <= WireLimits.unitsMax else {
                throw Refusal(.unitsOutOfRange, "units of a meter are at most 2^40")
            }
            for index in 0..<meterCount where meters[index].meter == meter {
                throw Refusal(.malformedBody, "a meter is named twice")
            }
            meters[meterCount] = RequestedMeter(meter: meter, units: units)
            meterCount &+= 1
        }
        try Self.skipExtensions(&reader)
    }

    /// Version 1 knows no extension field in requests: critical ones are refused.
    package static func skipExtensions(_ reader: inout ByteReader) throws(Refusal) {
        while reader.remaining > 0 {
            guard let header = reader.take(BodyBytes.extensionHeader) else {
                throw Refusal(.malformedBody, "bytes behind the body that are no extension field")
            }
            let length = Int(header.loadLittle(at: 2, as: UInt16.self))
            guard reader.take(length) != nil else {
                throw Refusal(.malformedBody, "an extension field runs past the end of the frame")
            }
            guard header[1] & ~ExtensionFlags.critical == 0 else {
                throw Refusal(.unsupportedField, "unknown flag of an extension field")
            }
            guard header[1] & ExtensionFlags.critical == 0 else {
                throw Refusal(.unsupportedField, "a critical extension field that is not known")
            }
        }
    }

    /// Weighted units of each of the operation's charges: those named, else the default.
    func setUnits(
        _ operation: CompiledOperation, _ policy: PolicyImage, defaults: Bool = true
    ) throws(Refusal) {
        let start = Int(operation.chargeStart)
        let count = Int(operation.chargeCount)
        for index in 0..<count {
            units[index] = defaults ? policy.charges[start &+ index].defaultWeighted : 0
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
                known = true
            }
            guard known else {
                throw Refusal(.unknownMeter, "the operation does not charge a meter of that name")
            }
        }
    }
}
