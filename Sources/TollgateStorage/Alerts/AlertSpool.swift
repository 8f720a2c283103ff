import TollgateCore
import TollgateWire

/// Alerts between the daemon, which puts them there, and who delivers them and takes them out: a
/// directory with a file each, whole once it has its name. Protocol.md, "Alert spool".
///
/// | file | |
/// |---|---|
/// | `alert.NNNNNNNNNNNNNNNNNNNN.json` | the alert of that id: the document *alert* |
/// | `alert.NNNNNNNNNNNNNNNNNNNN.SINK.done` | empty: it has arrived at that sink |
/// | `*.part` | being written |
/// | `lock` | locked by who delivers |
package final class AlertSpool: Sendable {
    package static let alertBytesMax = 64 << 10
    private static let stem = "alert."
    private static let ending = ".json"
    private static let doneEnding = ".done"
    private static let digits = 20

    /// One that waits, and the sinks at which it has arrived.
    package struct Entry: Sendable, Equatable {
        package var id: UInt64
        package var done: Set<String> = []
    }

    package let directory: String
    private let disk: any Disk

    /// Made if need be.
    package static func open(_ directory: String) throws(AuditFailure) -> AlertSpool {
        let spool = AlertSpool(directory, SystemDisk(fileMode: 0o640, directoryMode: 0o750))
        try onAuditDisk { () throws(DiskError) in try spool.disk.makeDirectory(directory) }
        return spool
    }

    /// One that a daemon made, or will make.
    package convenience init(_ directory: String) {
        self.init(directory, SystemDisk(fileMode: 0o640, directoryMode: 0o750))
    }

    init(_ directory: String, _ disk: any Disk) {
        self.directory = directory
        self.disk = disk
    }

    /// For as long as it lives nobody else delivers from here.
    package func lock() throws(AuditFailure) -> any DiskLock {
        try onAuditDisk { () throws(DiskError) in
            try disk.makeDirectory(directory)
            return try disk.lock(directory + "/lock")
        }
    }

    private func path(_ id: UInt64) -> String { directory + "/" + Self.stem + Self.padded(id) }

    private static func padded(_ id: UInt64) -> String {
        let text = String(id)
        return String(repeating: "0", count: max(0, digits &- text.utf8.count)) + text
    }

    /// Puts an alert in; durable when it returns. One of the same id is replaced.
    package func put(_ id: UInt64, _ document: [UInt8]) throws(AuditFailure) {
        let path = path(id) + Self.ending
        let block = Block(document.count)
        defer { block.keep() }
        document.withUnsafeBytes { block.bytes.copy($0, to: 0) }
        try onAuditDisk { () throws(DiskError) in
            let part = path + AuditFiles.partSuffix
            let file = try auditPart(part, bytes: 0, disk)
            try file.write(block.read, at: 0)
            try file.sync()
            try disk.rename(part, to: path)
            try disk.syncDirectory(directory)
        }
    }

    /// What waits, the oldest first; none where there is no such directory yet.
    package func entries() throws(AuditFailure) -> [Entry] {
        let names: [String]
        do throws(DiskError) { names = try disk.list(directory) } catch {
            guard error.isAbsent else { throw AuditFailure(error) }
            return []
        }
        var entries: [UInt64: Entry] = [:]
        for name in names where name.hasSuffix(Self.ending) {
            if let (id, rest) = Self.split(name), rest == Self.ending.dropFirst() {
                entries[id] = Entry(id: id)
            }
        }
        for name in names where name.hasSuffix(Self.doneEnding) {
            guard let (id, rest) = Self.split(name) else { continue }
            entries[id]?.done.insert(String(rest.dropLast(Self.doneEnding.utf8.count)))
        }
        return entries.values.sorted { $0.id < $1.id }
    }

    /// The id, and what follows its point.
    private static func split(_ name: String) -> (UInt64, Substring)? {
        guard name.hasPrefix(stem) else { return nil }
        let rest = name.dropFirst(stem.utf8.count)
        let number = rest.prefix(digits)
        guard number.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let id = UInt64(number),
            rest.dropFirst(digits).first == "."
        else { return nil }
        return (id, rest.dropFirst(digits &+ 1))
    }

    /// The document of one that waits; `nil` when it is gone.
    package func read(_ id: UInt64) throws(AuditFailure) -> [UInt8]? {
        do throws(DiskError) {
            let block = try disk.read(path(id) + Self.ending, bytesMax: Self.alertBytesMax)
            defer { block.keep() }
            return Array(block.read)
        } catch {
            guard error.isAbsent else { throw AuditFailure(error) }
            return nil
        }
    }

    /// It has arrived at a sink. Lost with the power, it arrives there again.
    package func mark(_ id: UInt64, sink: String) throws(AuditFailure) {
        let path = path(id) + "." + sink + Self.doneEnding
        try onAuditDisk { () throws(DiskError) in
            do throws(DiskError) { _ = try disk.create(path, bytes: 0) } catch {
                guard error.isPresent else { throw error }
            }
        }
    }

    /// It has arrived everywhere: gone with its marks, which go last.
    package func remove(_ id: UInt64, marks: some Sequence<String>) throws(AuditFailure) {
        let files = [path(id) + Self.ending] + marks.map { path(id) + "." + $0 + Self.doneEnding }
        for file in files {
            do throws(DiskError) { try disk.remove(file) } catch {
                guard error.isAbsent else { throw AuditFailure(error) }
            }
        }
    }
}
