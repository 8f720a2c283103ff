import CSQLite
import Glibc
import TollgateCore

/// Copies of the directory into a file, while it is in use.
extension DirectoryStore {
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
