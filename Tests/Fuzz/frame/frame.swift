import Glibc
import TollgatePolicy
import TollgateWire

@testable import TollgateCore

/// An engine under the policy that the vectors were written for. One thread.
private final class Bench {
    let worker: DecisionWorker
    let policy: PolicyImage
    let reply = UnsafeMutableRawBufferPointer.allocate(
        byteCount: DecisionWorker.replyBytesMax, alignment: 8)
    var boot: UInt64 = 1_000_000_000_000

    init() {
        let path = "Tests/Vectors/policy.yaml"
        guard let file = fopen(path, "r") else { fatalError("run it where Package.swift is") }
        var text = [UInt8](repeating: 0, count: 65_536)
        text.removeLast(text.count - fread(&text, 1, text.count, file))
        fclose(file)
        let key = Array("rJlFyp5n6DAH2dB0uY2egOIIjIGcuI-S-qePP0yVGc8".utf8)
        guard
            let loaded = try? PolicyLoader.load(
                bytes: text, file: path,
                readKey: { (_, _) throws(KeyFileFault) -> [UInt8] in key }),
            let image = try? PolicyImage(compiling: loaded.definition, generation: 1)
        else { fatalError("the vectors' policy is fit") }
        policy = image
        var configuration = EngineConfiguration(hashKey: (1, 2))
        configuration.organizationsMax = 64
        configuration.usersMax = 256
        configuration.addressesMax = 64
        worker = Engine(configuration).makeWorker()
    }

    func beginTurn() {
        boot += 1_000_000
        worker.beginTurn(
            Moment(boot: BootTime(nanoseconds: boot), wall: WallTime(seconds: 1_800_000_000)),
            policy: policy)
    }
}

private nonisolated(unsafe) let bench = Bench()

/// F1: byte 0 chooses how the rest, a stream of frames, arrives: in what pieces, and at which
/// address each frame then lies. What is taken apart lies inside its body, and its parts do not
/// overlap; it is decided, and the reply stays inside its room.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard count > 0, let data else { return 0 }
    let bytes = UnsafeRawBufferPointer(start: data, count: count)
    let piece = Int(bytes[0] >> 3) * 7 + 1
    let shift = Int(bytes[0] & 7)
    var held: [UInt8] = []
    var at = 1
    bench.beginTurn()
    while at < count {
        held += bytes[at..<min(at + piece, count)]
        at += piece
        while let taken = takeFrame(held, shift) {
            if taken < 0 { return 0 }
            held.removeFirst(taken)
        }
    }
    return 0
}

/// Bytes of the frame that begins `held`; `nil` while it is not whole, -1 when it breaks the grid.
private func takeFrame(_ held: [UInt8], _ shift: Int) -> Int? {
    guard held.count >= WireLimits.headerBytes else { return nil }
    let header = held.withUnsafeBytes { FrameHeader(reading: $0) }
    var written = [UInt8](repeating: 0, count: WireLimits.headerBytes)
    written.withUnsafeMutableBytes { header.write(to: $0) }
    precondition(written.elementsEqual(held[..<16]), "a header reads as it was written")
    let range = WireLimits.lengthMin...65_536
    guard range.contains(Int(header.length)), header.status == 0 else { return -1 }
    let size = WireLimits.headerBytes + header.bodyBytes
    guard held.count >= size else { return nil }
    // Ends where its memory ends, so that one byte too far is seen.
    let copy = UnsafeMutableRawBufferPointer.allocate(
        byteCount: shift + header.bodyBytes, alignment: 16)
    defer { copy.deallocate() }
    let body = UnsafeMutableRawBufferPointer(rebasing: copy[shift...])
    body.copyBytes(from: held[16..<size])
    decide(header.opcode, UnsafeRawBufferPointer(body))
    return size
}

private func decide(_ opcode: UInt8, _ body: UnsafeRawBufferPointer) {
    bench.worker.prefetchPlace(opcode, body)
    bench.worker.prefetchEntry(opcode, body)
    bench.worker.prefetchRows(opcode, body)
    var outcome: Outcome?
    switch Opcode(rawValue: opcode) {
    case .check:
        if let request = try? CheckRequest(decoding: body) { check(request, body) }
        outcome = bench.worker.check(body, into: bench.reply)
    case .consume:
        if let request = try? SubjectRequest.consume(body) { check(request, body.count) }
        outcome = bench.worker.consume(body, into: bench.reply)
    case .usage:
        if let request = try? SubjectRequest.usage(body) { check(request, body.count) }
        outcome = bench.worker.usage(body, into: bench.reply)
    default: break
    }
    if let outcome { precondition((0...DecisionWorker.replyBytesMax).contains(outcome.bytes)) }
}

private func check(_ request: CheckRequest, _ body: UnsafeRawBufferPointer) {
    precondition(request.metersOffset <= body.count)
    precondition(request.meterCount <= WireLimits.metersMax)
    let strings = request.credential.count + request.method.count + request.operation.count
    precondition(strings + BodyBytes.checkRequest == request.metersOffset)
    touch(request.address, request.credential, request.method, request.operation)
    // Cut before its strings end, it is refused.
    let cut = UnsafeRawBufferPointer(rebasing: body[..<(request.metersOffset - 1)])
    precondition((try? CheckRequest(decoding: cut)) == nil)
}

private func check(_ request: SubjectRequest, _ count: Int) {
    precondition(request.metersOffset <= count)
    touch(request.organization, request.user, request.plan, request.operation)
}

/// Reads every byte, for the address sanitizer to judge.
private func touch(_ views: UnsafeRawBufferPointer...) {
    var sum: UInt8 = 0
    for view in views { for byte in view { sum &+= byte } }
    precondition(sum <= 255)
}
