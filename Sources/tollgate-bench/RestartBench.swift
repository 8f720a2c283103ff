import ArgumentParser
import CLinux
import Glibc
import TollgateClient
import TollgateWire

/// How long a daemon takes from its start to its first answer, with a ledger that it was killed
/// over: made here, kept aside, and put back before each start, so that all start from the same.
struct RestartBench {
    static let users = 1_000_000
    /// What is journaled behind the snapshot: slots of 32 bytes.
    static let journalBytes: UInt64 = 256_000_000
    private static let slotBytes: UInt64 = 32
    /// After which a start counts as failed.
    private static let waitNanoseconds: UInt64 = 60_000_000_000

    /// The daemon's command, one word after the other.
    let command: [String]
    let daemon: String
    let admin: String
    let ledger: String
    let check: [UInt8]

    /// Milliseconds of each start.
    func run(starts: Int) throws -> [Double] {
        try make()
        var taken: [Double] = []
        for _ in 0..<max(1, starts) {
            try Self.run(["rm", "-rf", ledger])
            try Self.run(["cp", "-a", saved, ledger])
            // What was copied just now is not the start's to write.
            sync()
            let began = tg_boottime()
            let process = try start()
            taken.append(Double(tg_boottime() - began) / 1e6)
            try Self.kill(process)
        }
        try Self.run(["rm", "-rf", saved])
        return taken
    }

    private var saved: String { ledger + ".saved" }

    /// A million users with counters in the snapshot, and all of the journal behind it.
    private func make() throws {
        let process = try start()
        let client = BlockingClient(path: admin, timeoutMilliseconds: 60_000)
        try BenchCommand.fill(daemon, users: Self.users)
        _ = try client.perform(.createSnapshot())
        let before = try slots(client)
        while try (slots(client) - before) * Self.slotBytes < Self.journalBytes {
            try BenchCommand.fill(daemon, users: Self.users / 4)
        }
        try Self.kill(process)
        try Self.run(["cp", "-a", ledger, saved])
    }

    private func slots(_ client: BlockingClient) throws -> UInt64 {
        guard
            let entry = try client.statistics().first(where: {
                $0.name == "tollgate_journal_slots_total"
            })
        else { throw BenchError(description: "the daemon tells of no journal") }
        return entry.value
    }

    /// Starts the daemon, and waits until it has allowed a CHECK.
    private func start() throws -> pid_t {
        unlink(daemon)
        unlink(admin)
        let process = try Self.spawn(command)
        let limit = tg_boottime() + Self.waitNanoseconds
        while tg_boottime() < limit {
            if let reply = Self.ask(daemon, check) {
                guard reply.count > WireLimits.headerBytes, reply[WireLimits.headerBytes] == 1
                else { throw BenchError(description: "the daemon refuses after its start") }
                return process
            }
            guard waitpid(process, nil, WNOHANG) == 0 else {
                throw BenchError(description: "the daemon ended: see its log")
            }
            usleep(500)
        }
        throw BenchError(description: "the daemon did not answer within a minute")
    }

    /// `nil`: nobody listens yet.
    private static func ask(_ path: String, _ request: [UInt8]) -> [UInt8]? {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        let isOpen = path.withCString {
            tg_unix_attach(descriptor, $0, path.utf8.count, 1) == 0
        }
        guard isOpen else { return nil }
        let sent = request.withUnsafeBytes {
            $0.baseAddress.map { tg_send(descriptor, $0, request.count) } ?? 0
        }
        var reply = [UInt8](repeating: 0, count: 1_024)
        let got = sent == request.count ? read(descriptor, &reply, reply.count) : 0
        return got > 0 ? Array(reply[..<got]) : nil
    }

    // MARK: processes

    /// Its standard output and error are this one's: what it logs belongs where the caller says.
    private static func spawn(_ words: [String]) throws -> pid_t {
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        defer { for argument in arguments { free(argument) } }
        arguments.append(nil)
        var process = pid_t()
        let result = posix_spawnp(&process, words[0], nil, nil, arguments, environ)
        guard result == 0 else {
            throw BenchError(description: "\(words[0]): \(String(cString: strerror(result)))")
        }
        return process
    }

    private static func run(_ words: [String]) throws {
        var status: Int32 = 0
        let process = try spawn(words)
        guard waitpid(process, &status, 0) == process, status == 0 else {
            throw BenchError(description: words.joined(separator: " ") + ": failed")
        }
    }

    private static func kill(_ process: pid_t) throws {
        _ = Glibc.kill(process, SIGKILL)
        guard waitpid(process, nil, 0) == process else {
            throw BenchError(description: "the daemon cannot be waited for")
        }
    }
}

extension BenchCommand {
    /// p100 of all starts.
    func measureRestart(_ command: String) throws {
        guard let daemon, let admin, let keyFile, let ledger else {
            throw ValidationError(
                "--restart needs --daemon, --admin, --ledger and --key-file")
        }
        let check = Workload.checks(secret: try Self.secret(keyFile)).requests[0]
        let bench = RestartBench(
            command: command.split(separator: " ").map(String.init), daemon: daemon, admin: admin,
            ledger: ledger, check: check)
        let taken = try bench.run(starts: rounds)
        let worst = taken.max() ?? 0
        let verdict = Verdict(
            name: "restart: \(RestartBench.users) users, "
                + "\(RestartBench.journalBytes / 1_000_000) MB of journal, ms, p100 of "
                + "\(taken.count)", figure: worst, wanted: 2_000, isLeast: false, digits: 0)
        guard !json else {
            let list = taken.map { Report.fixed($0, 1) }.joined(separator: ",")
            return print("{\"starts_ms\":[\(list)],\"verdicts\":[\(verdict.json)]}")
        }
        print(
            "start to first answer, ms: median \(Report.fixed(Figure.median(taken), 0)),"
                + " p100 \(Report.fixed(worst, 0))\n" + verdict.text)
    }
}
