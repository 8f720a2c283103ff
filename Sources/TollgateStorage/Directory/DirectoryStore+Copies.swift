import CSQLite
import Glibc
import TollgateCore

/// Copies of the directory: into memory at start, and into a file while it is in use.
extension DirectoryStore {
    /// Every record that decisions need, one at a time, tenants before what is theirs: for the
    /// image in memory. Holds one row.
    package func load(
        _ take: (DirectoryRecord) -> Void
    ) throws(DirectoryError) {
        try each(OrganizationRecord.select, OrganizationRecord.read) { take(.organization($0)) }
        try each(UserRecord.select, UserRecord.read) { take(.user($0)) }
        try each(SubscriptionRecord.select, SubscriptionRecord.read) { take(.subscription($0)) }
        try each(OverrideRecord.select, OverrideRecord.read) { take(.override($0)) }
        try each(APIKeyRecord.select, APIKeyRecord.read) { take(.key($0)) }
        try each(RevocationRecord.select, RevocationRecord.read) { take(.revocation($0)) }
        try each(SigningKeyRecord.select, SigningKeyRecord.read) { take(.signingKey($0)) }
    }

    private func each<T>(
        _ sql: String, _ read: (Statement) throws(StorageFault) -> T, _ take: (T) -> Void
    ) throws(DirectoryError) {
        do throws(StorageFault) {
            let statement = try database.statement(sql)
            defer { statement.reset() }
            while try statement.step() { take(try read(statement)) }
        } catch {
            throw .storage(error)
        }
    }

    /// Copies the directory as it is to `target`, which must not be there: whole and synced, or not
    /// at all. Changes wait meanwhile.
    package func backUp(to target: String) throws(StorageFault) {
        let temporary = target + ".part"
        let descriptor = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw DirectoryPlace.systemFault(temporary, errno) }
        close(descriptor)
        defer { unlink(temporary) }
        try database.copy(to: temporary)
        try DirectoryPlace.sync(temporary)
        // Not rename, which would replace what is there.
        guard link(temporary, target) == 0 else { throw DirectoryPlace.systemFault(target, errno) }
        unlink(temporary)
        let folder = target.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        let parent = folder.joined(separator: "/")
        try DirectoryPlace.sync(parent.isEmpty ? (target.hasPrefix("/") ? "/" : ".") : parent)
    }
}

/// One record of the directory.
package enum DirectoryRecord: Sendable, Equatable {
    case organization(OrganizationRecord)
    case user(UserRecord)
    case subscription(SubscriptionRecord)
    case override(OverrideRecord)
    case key(APIKeyRecord)
    case revocation(RevocationRecord)
    case signingKey(SigningKeyRecord)
}
