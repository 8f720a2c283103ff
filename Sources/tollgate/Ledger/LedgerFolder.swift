import ArgumentParser
import CLinux
import Glibc
import TollgateCore
import TollgateStorage

/// A ledger's directory, as the user names it, for commands that no daemon answers.
struct LedgerFolder {
    /// Without slashes at its end.
    let path: String
    private let owner: UInt32

    init(_ given: String) throws {
        path = Self.trimmed(given)
        var status = stat()
        guard stat(path, &status) == 0 else { throw Self.cannotRead(path, errno) }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw Failure(
                .noInput, "\(path) is no directory",
                next: "name the directory of the ledger, as the policy does under ledger: path:")
        }
        owner = status.st_uid
    }

    /// `/` stays what it is.
    static func trimmed(_ given: String) -> String {
        var path = given
        while path.utf8.count > 1, path.hasSuffix("/") { path.removeLast() }
        return path
    }

    static var now: Moment {
        Moment(
            boot: BootTime(nanoseconds: tg_boottime()),
            wall: WallTime(milliseconds: tg_walltime()))
    }

    static var threads: Int { max(1, min(8, sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }

    /// Keeps daemons from opening it for as long as what it returns lives.
    func open(repairing: Bool = false) throws -> LedgerInspection {
        // A disk that gives no page of a mapped file is an error of the disk, not a crash.
        guard tg_end_on_bus_error() == 0 else {
            throw Failure(.output, "sigaction: \(systemText(errno))")
        }
        return try ask { () throws(LedgerFailure) in
            var options = LedgerOptions(
                path: path, bootID: try onDisk { () throws(DiskError) in try HostBoot.id() })
            options.threads = Self.threads
            return try LedgerInspection(options, SystemDisk(), repairing: repairing)
        }
    }

    /// A command about this ledger, to be typed as it is.
    func command(_ words: String) -> String { "tollgate \(words) \(shellWord(path))" }

    // MARK: owners

    private static func name(_ user: UInt32) -> String? {
        getpwuid(user).map { String(cString: $0.pointee.pw_name) }
    }

    private static func shown(_ user: UInt32) -> String { name(user) ?? "user \(user)" }

    var ownerName: String { Self.shown(owner) }

    /// Whether files that this process makes are the daemon's.
    var isOwn: Bool { geteuid() == owner }

    /// The command as this user can give it in the owner's name.
    func runAsOwner(_ words: String) -> String {
        let command = command(words)
        guard let name = Self.name(owner) else {
            return "setpriv --reuid=\(owner) --clear-groups \(command)"
        }
        return geteuid() == 0
            ? "runuser -u \(shellWord(name)) -- \(command)"
            : "sudo -u \(shellWord(name)) \(command)"
    }

    /// Files that the directory's owner, and so the daemon, may not be able to open.
    func foreignFiles() throws -> [(path: String, user: String)] {
        let names = try ask { () throws(LedgerFailure) in
            try onDisk { () throws(DiskError) in try SystemDisk().list(path) }
        }
        return names.compactMap { name in
            guard LedgerFiles.isOfLedger(name) || LedgerFiles.isOther(name) else { return nil }
            var status = stat()
            let file = path + "/" + name
            guard lstat(file, &status) == 0, status.st_uid != owner else { return nil }
            return (file, Self.shown(status.st_uid))
        }
    }

    func chown(_ paths: [String]) -> String {
        // Not by its name, which `chown` would not take for a number that has none.
        "chown \(owner) " + paths.map(shellWord).joined(separator: " ")
    }

    // MARK: failures

    /// What the ledger's files refuse, as this command tells it.
    func ask<T>(_ body: () throws(LedgerFailure) -> T) throws -> T {
        do throws(LedgerFailure) { return try body() } catch { throw failure(error) }
    }

    func failure(_ error: LedgerFailure) -> Failure {
        switch error.kind {
        case .locked:
            Failure(
                .tryAgain, "a daemon has the ledger \(path) open, or another tollgate looks at it",
                next: "end the daemon first: tollgate stop, or systemctl stop tollgate")
        case .unfit, .gone: unfit(error)
        case .version:
            Failure(.badData, error.description, next: "use the tollgate of that version")
        case .damaged:
            Failure(
                .notDone, error.description,
                next: "\(command("ledger repair")) --dry-run says what can be saved")
        case .disk where [EACCES, EPERM].contains(error.errno):
            Failure(
                .forbidden, error.description,
                next: isOwn
                    ? "\(command("ledger verify")) names files that others own; chmod u+rwX"
                        + " \(shellWord(path))/* gives back what was taken from their owner"
                    : "it belongs to \(ownerName): run \(runAsOwner("ledger verify"))")
        case .disk where [ENOENT, ENOTDIR].contains(error.errno):
            Self.cannotRead(error.path, error.errno)
        case .disk:
            Failure(
                .output, error.description,
                next: error.isRefusal
                    ? "make room, or make it writable, and run it again"
                    : "the disk fails: copy the directory to another one, and look at the copy")
        }
    }

    private func unfit(_ error: LedgerFailure) -> Failure {
        let inside = path + "/ledger"
        let isMeant = access(inside, F_OK) == 0
        return Failure(
            .noInput, error.description,
            next: isMeant
                ? "did you mean \(inside)?"
                : "name the directory of the ledger, as the policy does under ledger: path:")
    }

    static func cannotRead(_ path: String, _ code: Int32) -> Failure {
        if [EACCES, EPERM].contains(code) {
            return Failure(
                .forbidden, "cannot read \(path): \(systemText(code))",
                next: "run it as the user that the daemon runs as, or as root")
        }
        return Failure(
            .noInput, "cannot read \(path): \(systemText(code))",
            next: "name the directory of the ledger, as the policy does under ledger: path:")
    }
}

/// The argument of commands about a ledger.
struct LedgerArgument: ParsableArguments {
    @Argument(
        help: "The directory of the ledger, as the policy names it.", completion: .directory)
    var path: String
}
