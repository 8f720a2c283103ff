import Glibc
import TollgatePolicy
import TollgateWire

@testable import TollgateCore

/// An engine under the policy that the vectors were written for. One thread.
private final class Bench {
    let engine: Engine
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
        engine = Engine(configuration)
        worker = engine.makeWorker()
    }

    func beginTurn(after nanoseconds: UInt64) {
        boot += nanoseconds
        worker.beginTurn(
            Moment(boot: BootTime(nanoseconds: boot), wall: WallTime(seconds: 1_800_000_000)),
            policy: policy)
    }
}

private nonisolated(unsafe) let bench = Bench()

/// F8: a row of steps: u8 what, u8 which reservation, u16 bytes, then that many bytes of a body. In
/// EXTEND, SETTLE and CANCEL the first 16 bytes of the body are put right, so that they name one of
/// the reservations made so far, where "which" is below 128; time passes, and connections end.
/// Nothing traps, replies stay inside their room, and what is held is what is open.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard count > 0, let data else { return 0 }
    var reader = ByteReader(UnsafeRawBufferPointer(start: data, count: count))
    var made: [[UInt8]] = []
    bench.beginTurn(after: 1_000_000)
    while let what = reader.read(UInt8.self), let which = reader.read(UInt8.self),
        let length = reader.read(UInt16.self)
    {
        let bytes = reader.take(min(Int(length), reader.remaining)) ?? .init(start: nil, count: 0)
        switch what % 8 {
        case 6: bench.beginTurn(after: UInt64(which) * 100_000_000)
        case 7:
            bench.worker.release(connection: UInt64(which % 4) + 1)
            bench.worker.tendHolds()
        default: decide(what % 8, which, bytes, &made)
        }
    }
    // Nothing is left behind for the next input: a minute is the longest that anything is held.
    for connection in 1...4 { bench.worker.release(connection: UInt64(connection)) }
    bench.beginTurn(after: 3_600_000_000_000)
    bench.worker.tendHolds()
    precondition(bench.engine.gauges.openReservations == 0, "everything ends in an hour")
    return 0
}

private func decide(
    _ what: UInt8, _ which: UInt8, _ bytes: UnsafeRawBufferPointer, _ made: inout [[UInt8]]
) {
    // Ends where its memory ends, so that one byte too far is seen.
    let body = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
    defer { body.deallocate() }
    body.copyBytes(from: bytes)
    if (1...3).contains(what), which < 128, !made.isEmpty, body.count >= 16 {
        body.copyBytes(from: made[Int(which) % made.count])
    }
    let frame = UnsafeRawBufferPointer(body)
    let outcome: Outcome
    switch what {
    case 0:
        outcome = bench.worker.reserve(
            frame, connection: UInt64(which % 4) + 1, into: bench.reply)
        if let id = reservation(outcome) { made.append(id) }
        if let request = try? ReserveRequest(decoding: frame) {
            precondition(request.check.metersOffset <= frame.count)
        }
    case 1: outcome = bench.worker.extend(frame, into: bench.reply)
    case 2: outcome = bench.worker.settle(frame, into: bench.reply)
    case 3: outcome = bench.worker.cancel(frame, into: bench.reply)
    case 4: outcome = bench.worker.check(frame, into: bench.reply)
    default: outcome = bench.worker.consume(frame, into: bench.reply)
    }
    precondition((0...DecisionWorker.replyBytesMax).contains(outcome.bytes))
    let again = what == 2 && outcome.status == .ok && frame[18] == 0
    if again { settleAgain(frame, outcome) }
}

/// A SETTLE that was recorded is answered the same once more.
private func settleAgain(_ body: UnsafeRawBufferPointer, _ first: Outcome) {
    let kept = Array(UnsafeRawBufferPointer(rebasing: bench.reply[..<first.bytes]))
    guard kept[0] == Verdict.allow.rawValue else { return }
    let second = bench.worker.settle(body, into: bench.reply)
    precondition(second == first)
    precondition(kept.elementsEqual(bench.reply[..<second.bytes]))
}

/// The id in the reply that was just written: its last field but for what explain adds.
private func reservation(_ outcome: Outcome) -> [UInt8]? {
    guard outcome.status == .ok else { return nil }
    let reply = UnsafeRawBufferPointer(rebasing: bench.reply[..<outcome.bytes])
    let texts = (56..<62).reduce(0) { $0 + Int(reply[$1]) }
    var reader = ByteReader(reply, at: BodyBytes.decisionReply + texts)
    while let tag = reader.read(UInt8.self), reader.read(UInt8.self) != nil,
        let length = reader.read(UInt16.self), let value = reader.take(Int(length))
    {
        if tag == ExtensionTag.reservation {
            return Array(value.prefix(BodyBytes.reservationID))
        }
    }
    return nil
}
