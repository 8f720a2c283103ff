import CLinux
import Glibc
import TollgateCore
import TollgateWire

/// Reservations and syncs, measured one round at a time.
struct HoldBench {
    let target: BenchCommand.Target
    let load: BenchCommand.Load
    let milliseconds: UInt64

    func run() throws -> BenchCommand.Round {
        target.kind == .sync ? try syncs() : try holds()
    }

    /// Reserves for as long as is measured, then settles all of it: one of the two is measured.
    private func holds() throws -> BenchCommand.Round {
        // Touched before it is measured: the generator is not to make the daemon wait.
        var ids = [UInt8](repeating: 0, count: Self.idBytes * Self.idsMax)
        var count = 0
        let reserving = try Generator(
            path: target.path, connections: load.connections, depth: load.depth,
            workload: target.workload)
        reserving.onReply = { body in
            guard count < Self.idsMax, let id = Self.reservation(body) else { return }
            ids.withUnsafeMutableBytes { $0.copy(id, to: count * Self.idBytes) }
            count += 1
        }
        let rate = try reserving.saturate(nanoseconds: milliseconds * 1_000_000)
        try reserving.finish()
        guard count > 0 else { throw BenchError(description: "nothing was reserved") }
        let reserved = (0..<count).map {
            Array(ids[($0 * Self.idBytes)..<(($0 + 1) * Self.idBytes)])
        }
        // Of connections that stay open: a hold ends with the connection that made it.
        let settling = try Generator(
            path: target.path, connections: load.connections, depth: load.depth,
            workload: .settles(reserved))
        let settled = try settling.once()
        let isSettle = target.kind == .settle
        withExtendedLifetime(reserving) {}
        return BenchCommand.Round(
            rate: isSettle ? settled : rate,
            latency: isSettle ? settling.latency : reserving.latency,
            denied: isSettle ? settling.denied : reserving.denied)
    }

    /// The id in the extension field of a reservation, which stands last: 16 bytes, and 8 more.
    private static func reservation(_ body: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        let field = 24
        guard body.count > field, body[0] == 1 else { return nil }
        return body.slice(at: body.count - field, length: idBytes)
    }

    private static let idBytes = BodyBytes.reservationID
    /// Of one round: a few seconds' worth.
    private static let idsMax = 2_000_000

    /// What a daemon would do that syncs for each request: a slot, then a sync.
    private func syncs() throws -> BenchCommand.Round {
        let path = target.path + "/tollgate-bench.sync"
        let descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw BenchError(description: "\(path): cannot be made") }
        defer {
            close(descriptor)
            unlink(path)
        }
        var latency = Generator.emptyHistogram()
        let zeros = [UInt8](repeating: 0, count: 1 << 20)
        guard write(descriptor, zeros, zeros.count) == zeros.count, fsync(descriptor) == 0 else {
            throw BenchError(description: "\(path): cannot be written")
        }
        let start = tg_boottime()
        var now = start
        var count = 0
        while now - start < milliseconds * 1_000_000 {
            let slot = [UInt8](repeating: UInt8(truncatingIfNeeded: count), count: 32)
            guard pwrite(descriptor, slot, 32, (count * 32) % (zeros.count - 32)) == 32,
                fdatasync(descriptor) == 0
            else { throw BenchError(description: "\(path): cannot be synced") }
            let end = tg_boottime()
            latency.record(end - now)
            now = end
            count += 1
        }
        return BenchCommand.Round(
            rate: Double(count) * 1e9 / Double(now - start), latency: latency, denied: 0)
    }
}
