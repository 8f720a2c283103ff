import TollgateCore
import TollgatePolicy

private let key = Array("q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeAE".utf8)

/// F8: any bytes as a policy file. It loads, or every fault has a place in the file, one line and
/// a bounded length; and the second reading says what the first said. Key files are all there and
/// all alike, so that of a policy that loads one pepper is good at most, and none beside an issuer;
/// no file is opened but those of time zones.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = [UInt8](UnsafeRawBufferPointer(start: data, count: count))
    let first = faults(bytes)
    precondition(faults(bytes) == first, "read twice, said alike")
    guard let first else { return 0 }
    precondition((1...PolicyErrors.errorsMax).contains(first.count), "no fault, or too many")
    // YAML's line ends: also CR alone, NEL, LS and PS.
    let lines = 2 + bytes.count { [0x0a, 0x0d, 0x85, 0xa8, 0xa9].contains($0) }
    var last = (0, 0)
    for fault in first {
        precondition((1...lines).contains(fault.line), "\(fault)")
        precondition((1...(count + 2)).contains(fault.column), "\(fault)")
        precondition(last < (fault.line, fault.column), "in the order of the file, once each")
        last = (fault.line, fault.column)
        precondition((1...2_000).contains(fault.message.utf8.count), "\(fault)")
        precondition(!fault.message.utf8.contains { $0 < 0x20 || $0 == 0x7f }, "\(fault)")
        precondition(!fault.message.contains("q83vEjRWeJCrze8S"), "a secret is shown")
    }
    return 0
}

/// `nil` when it loads.
private func faults(_ bytes: [UInt8]) -> [PolicyError]? {
    do throws(PolicyErrors) {
        let loaded = try PolicyLoader.load(
            bytes: bytes, file: "/p/p.yaml",
            readKey: { (_, _) throws(KeyFileFault) -> [UInt8] in key })
        let peppers = loaded.directory?.peppers.map(\.generation) ?? []
        precondition(zip(peppers, peppers.dropFirst()).allSatisfy { $0 < $1 }, "newest last")
        if let terms = loaded.definition.tokens {
            precondition(!peppers.isEmpty && terms.accessSeconds < terms.refreshIdleSeconds)
            precondition(terms.refreshIdleSeconds <= terms.refreshSeconds)
        }
        return pepperFaults(loaded)
    } catch { return error.errors }
}

/// `nil` when all can be read; the first has the same secret as the others and the signing keys.
private func pepperFaults(_ loaded: LoadedPolicy) -> [PolicyError]? {
    do throws(PolicyErrors) {
        let peppers = try loaded.peppers(
            credentials: "/c", readKey: { (_, _) throws(KeyFileFault) -> [UInt8] in key })
        precondition(peppers.count == loaded.directory?.peppers.count ?? 0, "a pepper is missing")
        return nil
    } catch { return error.errors }
}
