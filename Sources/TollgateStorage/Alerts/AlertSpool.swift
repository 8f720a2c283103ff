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
/// | `*.damaged` | set aside by who delivers: it was no alert |
/// | `reload` | by the daemon: other content, read the policy's sinks again |
/// | `lock` | locked by who delivers |
package final class AlertSpool: Sendable {
    package static let alertBytesMax = 64 << 10
    private static let stem = "alert."
    private static let ending = ".json"
    private static let doneEnding = ".done"
    private static let damagedSuffix = ".damaged"
    private static let reload = "reload"
    private static let digits = 20

    /// One that waits, and the sinks at which it has arrived.
    package struct Entry: Sendable, Equatable {
        package var id: UInt64
        package var done: Set<String> = []
    }

    package struct Contents: Sendable, Equatable {
        /// The oldest first.
        package var entries: [Entry] = []
        /// Files of marks whose alert is gone.
        package var strays: [String] = []
        /// Of all that is there, marks and files set aside included; 0: nothing.
        package var idMax: UInt64 = 0
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
        try write(document, to: path(id) + Self.ending)
    }

    /// Whole under its name, and durable, when it returns.
    private func write(_ content: [UInt8], to path: String) throws(AuditFailure) {
        let block = Block(content.count)
        defer { block.keep() }
        content.withUnsafeBytes { block.bytes.copy($0, to: 0) }
        try onAuditDisk { () throws(DiskError) in
            let part = path + AuditFiles.partSuffix
            let file = try auditPart(part, bytes: 0, disk)
            try file.write(block.read, at: 0)
            try file.sync()
            try disk.rename(part, to: path)
            try disk.syncDirectory(directory)
        }
    }

    /// Has who delivers read its sinks again; `mark` is none that was given before.
    package func noteReload(_ mark: String) throws(AuditFailure) {
        try write(Array(mark.utf8), to: directory + "/" + Self.reload)
    }

    /// What the daemon noted last; `nil`: nothing yet.
    package func reloadMark() throws(AuditFailure) -> [UInt8]? {
        do throws(DiskError) {
            let block = try disk.read(directory + "/" + Self.reload, bytesMax: Self.alertBytesMax)
            defer { block.keep() }
            return Array(block.read)
        } catch {
            guard error.isAbsent else { throw AuditFailure(error) }
            return nil
        }
    }

    /// What waits, the oldest first; none where there is no such directory yet.
    package func entries() throws(AuditFailure) -> [Entry] { try contents().entries }

    /// Lists the directory: as long as it takes for as many as wait.
    package func contents() throws(AuditFailure) -> Contents {
        let names: [String]
        do throws(DiskError) { names = try disk.list(directory) } catch {
            guard error.isAbsent else { throw AuditFailure(error) }
            return Contents()
        }
        var contents = Contents()
        var entries: [UInt64: Entry] = [:]
        var marks: [(id: UInt64, sink: String, name: String)] = []
        for name in names {
            guard let (id, rest) = Self.split(name) else { continue }
            contents.idMax = max(contents.idMax, id)
            if rest == Self.ending.dropFirst() {
                entries[id] = Entry(id: id)
            } else if rest.hasSuffix(Self.doneEnding) {
                marks.append((id, String(rest.dropLast(Self.doneEnding.utf8.count)), name))
            }
        }
        for mark in marks {
            if entries[mark.id] == nil { contents.strays.append(mark.name) }
            entries[mark.id]?.done.insert(mark.sink)
        }
        contents.entries = entries.values.sorted { $0.id < $1.id }
        return contents
    }

    /// Removes marks whose alert is gone.
    package func remove(strays: [String]) throws(AuditFailure) {
        for name in strays { try removeFile(directory + "/" + name) }
    }

    /// Whether the alert waits, or something under its name.
    package func has(_ id: UInt64) -> Bool {
        do throws(DiskError) {
            _ = try disk.open(path(id) + Self.ending, writable: false)
            return true
        } catch { return !error.isAbsent }
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

    /// The document of one that waits; `nil` when it is gone. What is no file, or larger than any
    /// alert, is damaged.
    package func read(_ id: UInt64) throws(AuditFailure) -> [UInt8]? {
        do throws(DiskError) {
            let block = try disk.read(path(id) + Self.ending, bytesMax: Self.alertBytesMax)
            defer { block.keep() }
            return Array(block.read)
        } catch {
            if error.isAbsent { return nil }
            var failure = AuditFailure(error)
            if error.isNoFile || error.errno == DiskError.tooLarge { failure.kind = .damaged }
            throw failure
        }
    }

    /// Moves what is no alert out of the way, where it takes no room among those that wait; its
    /// path from now on. What was set aside before under that name is replaced.
    package func setAside(_ id: UInt64) throws(AuditFailure) -> String {
        let file = path(id) + Self.ending
        try onAuditDisk { () throws(DiskError) in
            try disk.rename(file, to: file + Self.damagedSuffix)
        }
        return file + Self.damagedSuffix
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
        for file in files { try removeFile(file) }
    }

    private func removeFile(_ path: String) throws(AuditFailure) {
        do throws(DiskError) { try disk.remove(path) } catch {
            guard error.isAbsent else { throw AuditFailure(error) }
        }
    }
}
