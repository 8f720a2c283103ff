import Glibc
import TollgateCore
import TollgateStorage
import TollgateWire

/// The directory as a whole: its log, its size, its copy.
extension CallHandlers {
    static func listLog(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let store = context.store
        let organization = arguments.optionalID("organization", OrganizationID.self)
        let tenant = organization.map { store.acting(for: $0) }
        return try arguments.list({ after, limit throws(DirectoryError) in
            guard let tenant else { return try store.adminLog(before: after, limit: limit) }
            return try tenant.adminLog(before: after, limit: limit)
        }) { DirectoryLogEntry($0) }
    }

    static func showStatus(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let counts = try context.store.counts(at: context.now)
        let configured = Set(context.plan.peppers.map(\.generation))
        var keys: [UInt32: Int] = [:]
        for generation in configured { keys[generation] = 0 }
        for (generation, count) in counts.peppers { keys[generation] = count }
        let peppers = keys.sorted { $0.key < $1.key }.map {
            DirectoryStatus.Pepper(
                generation: $0.key, keys: UInt64($0.value),
                isConfigured: configured.contains($0.key))
        }
        return DirectoryStatus(
            path: context.store.path, organizations: UInt64(counts.organizations),
            users: UInt64(counts.users), keys: UInt64(counts.keys),
            sessions: UInt64(counts.sessions), revocations: UInt64(counts.revocations),
            peppers: peppers
        ).json
    }

    /// Of the directory's file alone: peppers and signing keys are copied apart from it.
    static func createBackup(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let path = try arguments.text("path")
        guard path.hasPrefix("/"), !path.hasSuffix("/") else {
            throw .invalid(field: "path", why: "is an absolute path, and names a file")
        }
        var status = stat()
        if lstat(path, &status) == 0 {
            throw context.refuse(.alreadyExists, "path: something is there; name another")
        }
        do throws(StorageFault) { try context.store.backUp(to: path) } catch {
            throw context.refuse(.storageFailed, "\(error)")
        }
        guard stat(path, &status) == 0 else {
            throw context.refuse(.storageFailed, "\(path): \(errorText(errno))")
        }
        return DirectoryBackup(path: path, bytes: UInt64(clamping: status.st_size)).json
    }
}

extension DirectoryLogEntry {
    init(_ entry: AdminLogEntry) {
        self.init(
            number: UInt64(clamping: entry.number), at: Timestamp(entry.change.at),
            uid: entry.change.uid, pid: UInt32(clamping: entry.change.pid),
            organization: entry.organization?.text, action: entry.action,
            subject: entry.subject, before: Self.object(entry.before),
            after: Self.object(entry.after))
    }

    /// What the store wrote as JSON.
    private static func object(_ text: String?) -> JSONObject? {
        guard let text else { return nil }
        do throws(JSONError) {
            guard case .object(let object) = try JSONValue(reading: Array(text.utf8)) else {
                return nil
            }
            return object
        } catch { return nil }
    }
}
