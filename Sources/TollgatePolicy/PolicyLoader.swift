import Glibc
import TollgateCore

/// A policy file as it was read.
package struct LoadedPolicy: Sendable {
    package var file: String
    package var definition: PolicyDefinition
    package var daemon: DaemonSettings
    /// `nil`: there is none, and callers are known by their tokens alone.
    package var directory: DirectorySettings?
    /// `nil`: there is none, and what was used is forgotten when the daemon ends.
    package var ledger: LedgerSettings?
    /// `nil`: there is none, and decisions are recorded nowhere.
    package var audit: AuditLogSettings?
    /// `nil`: nobody is told of anything.
    package var alerts: AlertSettings?
}

/// Reads and checks policy files. Strict: what is not understood is an error, and nothing of a
/// file with an error is used.
package enum PolicyLoader {
    package static let fileBytesMax = 4 << 20

    /// The policy in a file; throws all that is wrong with it, each with its place. A policy that
    /// loads also compiles.
    package static func load(path: String) throws(PolicyErrors) -> LoadedPolicy {
        try load(bytes: try read(path), file: path)
    }

    /// The same for bytes in memory; key files are sought beside `file`, and read by `readKey`.
    package static func load(
        bytes: [UInt8], file: String, readKey: @escaping KeyReader = KeyFiles.read
    ) throws(PolicyErrors) -> LoadedPolicy {
        let schema = SchemaReader(file: file)
        let root = try YAMLReader.read(bytes, schema: schema)
        let keyFiles = KeyFiles(directory: KeyFiles.directory(of: file), read: readKey)
        let reader = PolicyReader(reader: schema, keyFiles: keyFiles, zones: TimeZones())
        let loaded = reader.policy(root)
        guard schema.errors.isEmpty else { throw PolicyErrors(errors: schema.errors) }
        var faults = misspelledPermissions(loaded.definition)
        do throws(PolicyCompileError) {
            _ = try PolicyImage(compiling: loaded.definition, generation: 1)
        } catch { faults.append(contentsOf: error.faults) }
        for fault in faults {
            let place = root.place(of: fault.path)
            schema.fail(place.line, place.column, fault.message)
        }
        guard faults.isEmpty else { throw PolicyErrors(errors: schema.errors) }
        return loaded
    }

    /// Permissions are declared nowhere, so one that a plan grants and no operation needs is right
    /// (a service may ask for it by itself), unless it is nearly one that some operation needs and
    /// no plan grants: then nobody would have that.
    private static func misspelledPermissions(_ policy: PolicyDefinition) -> [PolicyFault] {
        let granted = Set(policy.plans.flatMap(\.permissions))
        var seen: Set<String> = []
        let missing = policy.operations.compactMap(\.permission).filter {
            !granted.contains($0) && seen.insert($0).inserted
        }
        let needed = Set(policy.operations.compactMap(\.permission))
        return policy.plans.flatMap { plan in
            plan.permissions.enumerated().compactMap { position, name in
                guard !needed.contains(name), let meant = likelyMeant(name, missing) else {
                    return nil
                }
                return PolicyFault(
                    ["plans", .key(plan.name), "permissions", .position(position)],
                    "plan \(plan.name): no operation needs the permission \"\(name)\" (did you"
                        + " mean \(meant)?)")
            }
        }
    }

    static func read(_ path: String) throws(PolicyErrors) -> [UInt8] {
        func failure(_ message: String) -> PolicyErrors {
            PolicyErrors(errors: [PolicyError(file: path, line: 0, column: 0, message: message)])
        }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw failure(String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw failure("not a file")
        }
        guard status.st_size <= fileBytesMax else { throw failure("larger than 4 MiB") }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var filled = 0
        while filled < bytes.count {
            let got = bytes.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress.map { $0 + filled }, $0.count - filled)
            }
            guard got > 0 else { throw failure("cannot be read to its end") }
            filled += got
        }
        return bytes
    }
}
