import ArgumentParser
import TollgatePolicy
import TollgateStorage

/// Which audit log is read.
struct AuditPlaceOptions: ParsableArguments {
    @Option(help: "The log's directory (default: as the policy says).", completion: .directory)
    var directory: String?
    @Option(
        name: .shortAndLong,
        help: "The policy file (default: TOLLGATE_CONFIG, or /etc/tollgate/tollgate.yaml).",
        completion: .file())
    var config: String?

    func validate() throws {
        if directory != nil, config != nil {
            throw ValidationError("give --directory or --config, not both")
        }
    }

    func reader() throws -> AuditReader {
        let reader = AuditReader(directory: try place())
        guard try onAudit({ () throws(AuditFailure) in try reader.isLog() }) else {
            throw Failure(
                .noInput, "\(reader.directory) has no audit log", next: Self.next)
        }
        return reader
    }

    static let next =
        "name the directory of an audit log; tollgate stats tells where the daemon's is"
        + " (tollgate_audit_info)"

    private func place() throws -> String {
        if var directory {
            while directory.hasSuffix("/"), directory.utf8.count > 1 { directory.removeLast() }
            return directory
        }
        let path = try Input.policyPath(config)
        let loaded: LoadedPolicy
        do throws(PolicyErrors) { loaded = try PolicyLoader.load(path: path) } catch {
            throw Failure(
                .configuration, "\(error)",
                next: "mend the policy, or name the log's directory with --directory")
        }
        guard let audit = loaded.audit else {
            throw Failure(
                .notDone, "the policy \(path) has no audit log",
                next: "add the section audit:, or name a log's directory with --directory")
        }
        return audit.path
    }
}

extension Failure {
    init(_ failure: AuditFailure) {
        switch failure.kind {
        case .disk where failure.errno == 2 || failure.errno == 20:
            self.init(.noInput, "\(failure)", next: AuditPlaceOptions.next)
        case .disk where failure.errno == 13:
            self.init(
                .noInput, "\(failure)", next: "run this as root or as the daemon's user")
        case .disk: self.init(.output, "\(failure)")
        case .locked: self.init(.tryAgain, "\(failure)")
        case .damaged, .version, .unfit:
            self.init(
                .badData, "\(failure)", next: "tollgate audit verify says what else is wrong")
            isDamage = failure.kind == .damaged
        }
    }
}

/// Runs what reads an audit log.
func onAudit<T>(_ body: () throws(AuditFailure) -> T) throws -> T {
    do throws(AuditFailure) { return try body() } catch { throw Failure(error) }
}
