import CLinux
import Glibc
import Histogram
import TollgateWire

struct BenchError: Error, CustomStringConvertible { var description: String }

/// Connections kept full with requests by one thread, and the time that each answer took.
///
/// With a rate, requests are due at fixed instants and are timed from when they were due, not from
/// when they could be sent: a server that stalls does not hide it (coordinated omission).
final class Generator {
    private struct Peer {
        var descriptor: Int32
        var input: UnsafeMutableRawPointer
        var inputBytes = 0
        /// Instants of the requests without answer, oldest first, as a ring.
        var sentAt: UnsafeMutablePointer<UInt64>
        var first = 0
        var inFlight = 0
    }

    private static let inputBytesMax = 512 * 1_024
    private let workload: Workload
    private let depth: Int
    private var peers: [Peer] = []
    private let epoll: Int32
    private var next = 0
    private(set) var answered = 0
    private(set) var denied = 0
    private(set) var replyBytes = 0
    private var outgoing: [UInt8] = []
    private(set) var latency = Generator.emptyHistogram()
    /// Is handed the body of every reply.
    var onReply: ((UnsafeRawBufferPointer) -> Void)?

    static func emptyHistogram() -> Histogram<UInt64> {
        Histogram(
            lowestDiscernibleValue: 1, highestTrackableValue: 10_000_000_000,
            numberOfSignificantValueDigits: .three)
    }

    init(path: String, connections: Int, depth: Int, workload: Workload) throws {
        self.workload = workload
        self.depth = depth
        epoll = epoll_create1(0)
        outgoing.reserveCapacity(1 << 20)
        for index in 0..<connections {
            let descriptor = try Self.connect(path)
            peers.append(
                Peer(
                    descriptor: descriptor,
                    input: .allocate(byteCount: Self.inputBytesMax, alignment: 8),
                    sentAt: .allocate(capacity: depth)))
            _ = tg_epoll_set(epoll, 1, descriptor, EPOLLIN.rawValue, UInt64(index))
        }
        next = Int.random(in: 0..<workload.requests.count)
    }

    deinit {
        for peer in peers {
            close(peer.descriptor)
            peer.input.deallocate()
            peer.sentAt.deallocate()
        }
        close(epoll)
    }

    static func connect(_ path: String) throws -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        let result = path.withCString { tg_unix_attach(descriptor, $0, path.utf8.count, 1) }
        guard result == 0 else {
            throw BenchError(description: "\(path): \(String(cString: strerror(-result)))")
        }
        return descriptor
    }

    /// Asks until every request was asked once and `nanoseconds` have passed; counts nothing.
    func warm(nanoseconds: UInt64) throws {
        let end = tg_boottime() + nanoseconds
        let limit = tg_boottime() + 20 * nanoseconds
        while answered < workload.requests.count || tg_boottime() < end {
            _ = try saturate(nanoseconds: nanoseconds / 8 + 1)
            if tg_boottime() > limit { break }
        }
        latency.reset()
    }

    /// Asks every request once, from the first on; answers a second.
    func once() throws -> Double {
        next = 0
        let start = tg_boottime()
        var sent = 0
        func fill(_ index: Int, _ now: UInt64) throws {
            let count = min(depth - peers[index].inFlight, workload.requests.count - sent)
            if count > 0 { try send(index, count, at: now) }
            sent += max(0, count)
        }
        for index in peers.indices { try fill(index, start) }
        var now = start
        while answered < workload.requests.count {
            now = try turn(wait: 1_000) { index, _, now in try fill(index, now) }
        }
        return Double(answered) * 1e9 / Double(max(1, now - start))
    }

    /// Waits for what is in flight.
    func finish() throws { try drain() }

    /// Keeps every connection at its depth for `nanoseconds`; answers a second.
    func saturate(nanoseconds: UInt64) throws -> Double {
        let start = tg_boottime()
        let end = start + nanoseconds
        for index in peers.indices where peers[index].inFlight < depth {
            try send(index, depth - peers[index].inFlight, at: start)
        }
        let before = answered
        var now = start
        while now < end {
            now = try turn(wait: 1_000) { index, count, now in try self.send(index, count, at: now)
            }
        }
        return Double(answered - before) * 1e9 / Double(now - start)
    }

    /// Sends `rate` requests a second for `nanoseconds`, spread over the connections; answers a
    /// second. A request that finds its connection full waits, and its latency counts the wait.
    func paced(rate: Double, nanoseconds: UInt64) throws -> Double {
        try drain()
        latency.reset()
        let before = answered
        let start = tg_boottime()
        var sent = 0
        var now = start
        while now - start < nanoseconds {
            let due = Int(Double(now - start) * rate / 1e9)
            while sent < due {
                let index = sent % peers.count
                guard peers[index].inFlight < depth else { break }
                try send(index, 1, at: start + UInt64(Double(sent) * 1e9 / rate))
                sent += 1
            }
            now = try turn(wait: 0) { _, _, _ in }
        }
        try drain()
        return Double(answered - before) * 1e9 / Double(tg_boottime() - start)
    }

    /// Waits for every answer that is due.
    private func drain() throws {
        let limit = tg_boottime() + 5_000_000_000
        while peers.contains(where: { $0.inFlight > 0 }), tg_boottime() < limit {
            _ = try turn(wait: 10) { _, _, _ in }
        }
    }

    /// Reads what is there; for each connection with answers, `refill` gets how many.
    private func turn(
        wait: Int32, _ refill: (Int, Int, UInt64) throws -> Void
    ) throws -> UInt64 {
        var ready: [(Int, Int)] = []
        try withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: 256) { events in
            guard let base = events.baseAddress else { return }
            let count = tg_epoll_wait(epoll, base, 256, wait)
            let now = tg_boottime()
            for event in 0..<max(0, count) {
                let index = Int(tg_event_id(base, event))
                let answers = try receive(index, now)
                if answers > 0 { ready.append((index, answers)) }
            }
        }
        let now = tg_boottime()
        for (index, answers) in ready { try refill(index, answers, now) }
        return now
    }

    private func send(_ index: Int, _ count: Int, at instant: UInt64) throws {
        outgoing.removeAll(keepingCapacity: true)
        for _ in 0..<count {
            outgoing += workload.requests[next]
            next = next + 1 == workload.requests.count ? 0 : next + 1
            let slot = (peers[index].first + peers[index].inFlight) % depth
            peers[index].sentAt[slot] = instant
            peers[index].inFlight += 1
        }
        var sent = 0
        while sent < outgoing.count {
            let put = outgoing.withUnsafeBytes { bytes -> Int in
                bytes.baseAddress.map {
                    tg_send(peers[index].descriptor, $0 + sent, bytes.count - sent)
                } ?? 0
            }
            guard put > 0 else { throw BenchError(description: "the server closed a connection") }
            sent += put
        }
    }

    private func receive(_ index: Int, _ now: UInt64) throws -> Int {
        let held = peers[index].inputBytes
        let input = peers[index].input
        let got = tg_read(peers[index].descriptor, input + held, Self.inputBytesMax - held)
        guard got > 0 else { throw BenchError(description: "the server closed a connection") }
        let bytes = UnsafeRawBufferPointer(start: input, count: held + got)
        let (answers, used) = workload.answers == .frames ? frames(bytes) : lines(bytes)
        memmove(input, input + used, bytes.count - used)
        peers[index].inputBytes = bytes.count - used
        for _ in 0..<answers {
            let sentAt = peers[index].sentAt[peers[index].first]
            latency.record(now > sentAt ? now - sentAt : 1)
            peers[index].first = (peers[index].first + 1) % depth
            peers[index].inFlight -= 1
        }
        answered += answers
        return answers
    }

    private func frames(_ bytes: UnsafeRawBufferPointer) -> (Int, Int) {
        var at = 0
        var count = 0
        while bytes.count - at >= WireLimits.headerBytes {
            let total = 4 + Int(bytes.loadLittle(at: at, as: UInt32.self))
            guard bytes.count - at >= total else { break }
            if bytes[at + WireLimits.headerBytes] != 1 { denied += 1 }
            onReply?(
                UnsafeRawBufferPointer(
                    rebasing: bytes[(at + WireLimits.headerBytes)..<(at + total)]))
            replyBytes = total
            at += total
            count += 1
        }
        return (count, at)
    }

    private func lines(_ bytes: UnsafeRawBufferPointer) -> (Int, Int) {
        var used = 0
        var count = 0
        for at in 0..<bytes.count where bytes[at] == 0x0a {
            if bytes[used] == UInt8(ascii: "-") { denied += 1 }
            count += 1
            used = at + 1
        }
        return (count, used)
    }
}
