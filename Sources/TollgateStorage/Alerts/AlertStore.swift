import CChecksum
import TollgateCore
import TollgateWire

/// The state of the alert rules on the disk, one file, `alerts.state`, replaced whole: written
/// beside it, synced, renamed. All numbers are little-endian.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | "TGALFILE" |
/// | 8 | 4 | version, 4; 1 and 2 are read as well: no flipped bit makes one another |
/// | 12 | 4 | CRC-32C of the state |
/// | 16 | 8 | bytes of the state |
/// | 24 | | the state (`AlertState`) |
///
/// An alert is in the file before anybody is told of it. So over a kill at any time none is told
/// twice in its period, and none that was noted is forgotten.
package final class AlertStore: Sendable {
    static let file = "alerts.state"
    static let lock = "lock"
    static let headBytes = 24
    static let bytesMax = 256 << 20
    private static let magic: UInt64 = 0x454c_4946_4c41_4754
    private static let version: UInt32 = 4
    private static let versions: Set<UInt32> = [1, 2, version]

    package let directory: String
    private let disk: any Disk
    /// Held to the end; `nil` for who only reads.
    private let directoryLock: (any DiskLock)?

    /// Locks the directory, made if need be.
    package static func open(_ directory: String) throws(AuditFailure) -> AlertStore {
        try AlertStore(directory, SystemDisk(fileMode: 0o640, directoryMode: 0o750))
    }

    init(_ directory: String, _ disk: any Disk) throws(AuditFailure) {
        self.directory = directory
        self.disk = disk
        do throws(DiskError) {
            try disk.makeDirectory(directory)
            directoryLock = try disk.lock(directory + "/" + Self.lock)
        } catch {
            var failure = AuditFailure(error)
            if failure.kind == .locked {
                failure.message =
                    "another daemon keeps its alerts there; stop it first, or name another"
                    + " directory (alerts: path)"
            }
            throw failure
        }
    }

    /// A daemon has kept its alerts there.
    package static func isPlace(_ directory: String) throws(AuditFailure) -> Bool {
        try onAuditDisk { () throws(DiskError) in try SystemDisk().list(directory) }
            .contains { $0 == file || $0 == lock }
    }

    /// Of the file in a directory.
    package static func path(_ directory: String) -> String { directory + "/" + file }

    /// What a daemon, running or not, wrote last; `nil`: nothing yet.
    package static func read(_ directory: String) throws(AuditFailure) -> AlertState? {
        try read(directory, SystemDisk())
    }

    package func read() throws(AuditFailure) -> AlertState? { try Self.read(directory, disk) }

    private static func read(
        _ directory: String, _ disk: any Disk
    ) throws(AuditFailure) -> AlertState? {
        let path = Self.path(directory)
        let block: Block
        do throws(DiskError) { block = try disk.read(path, bytesMax: bytesMax) } catch {
            guard error.isAbsent else { throw AuditFailure(error) }
            return nil
        }
        defer { block.keep() }
        let bytes = block.read
        guard bytes.count >= headBytes, bytes.loadLittle(at: 0, as: UInt64.self) == magic else {
            throw damaged(path, "not a state of alerts")
        }
        guard versions.contains(bytes.loadLittle(at: 8, as: UInt32.self)) else {
            throw AuditFailure(
                .version, path, "of a version that this program does not know; use a newer one")
        }
        let body = UnsafeRawBufferPointer(rebasing: bytes[headBytes...])
        guard bytes.loadLittle(at: 16, as: UInt64.self) == UInt64(body.count),
            bytes.loadLittle(at: 12, as: UInt32.self) == checksum(body),
            let state = AlertState(decoding: body)
        else { throw damaged(path, "damaged") }
        return state
    }

    private static func damaged(_ path: String, _ what: String) -> AuditFailure {
        AuditFailure(
            .damaged, path,
            "\(what); put it back from a backup, or move it away: then what was told in the periods"
                + " that go on is told again")
    }

    private static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        guard let base = bytes.baseAddress else { return tg_crc32c(0, nil, 0) }
        return tg_crc32c(0, base, bytes.count)
    }

    /// Replaces the file; durable when it returns.
    package func write(_ state: AlertState) throws(AuditFailure) {
        let encoded = state.encoded
        let block = Block(Self.headBytes &+ encoded.count)
        defer { block.keep() }
        block.bytes.storeLittle(Self.magic, at: 0)
        block.bytes.storeLittle(Self.version, at: 8)
        block.bytes.storeLittle(UInt64(encoded.count), at: 16)
        encoded.withUnsafeBytes {
            block.bytes.storeLittle(Self.checksum($0), at: 12)
            block.bytes.copy($0, to: Self.headBytes)
        }
        let path = directory + "/" + Self.file
        try onAuditDisk { () throws(DiskError) in
            let part = path + AuditFiles.partSuffix
            let file = try auditPart(part, bytes: 0, disk)
            try file.write(block.read, at: 0)
            try file.sync()
            try disk.rename(part, to: path)
            try disk.syncDirectory(directory)
        }
    }
}
