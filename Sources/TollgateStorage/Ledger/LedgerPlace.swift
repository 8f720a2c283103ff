import TollgateCore

/// The directory of a ledger: what makes it one, and what is set aside in it. It is locked.
struct LedgerPlace {
    let options: LedgerOptions
    let disk: any Disk

    private var markerPath: String { options.file(LedgerFiles.marker) }
    private var makingPath: String { options.file(LedgerFiles.making) }
    private var quarantinePath: String { options.file(LedgerFiles.quarantine) }

    /// The marker, and whether it is that of a ledger that is yet to be made. A directory that
    /// holds a ledger's files without it is never taken for an empty one.
    func marker(_ random: () -> UInt64) throws(LedgerFailure) -> (LedgerMarker, isNew: Bool) {
        let names = try onDisk { () throws(DiskError) in try disk.list(options.path) }
        if names.contains(LedgerFiles.marker) {
            do { return (try read(markerPath), false) } catch {
                throw error.named(repairing: options.path)
            }
        }
        if names.contains(LedgerFiles.making) {
            // Its making did not end, so nothing was ever charged there.
            do { return (try read(makingPath), true) } catch {
                guard error.kind == .damaged else { throw error }
            }
        } else if let strange = names.first(where: LedgerFiles.isData) {
            throw LedgerFailure(
                .damaged, markerPath,
                "is missing, though there is \(strange); put it back from a backup, or, to make"
                    + " it again, run: tollgate ledger repair \(shellWord(options.path))")
        }
        return (LedgerMarker(ledger: random(), key0: random(), key1: random()), true)
    }

    /// The marker of a ledger that is there, for who looks on from outside.
    func existingMarker() throws(LedgerFailure) -> LedgerMarker { try read(markerPath) }

    private func read(_ path: String) throws(LedgerFailure) -> LedgerMarker {
        let block = try onDisk { () throws(DiskError) in
            try disk.read(path, bytesMax: 4_096)
        }
        defer { block.keep() }
        return try LedgerMarker(block.read, path)
    }

    // MARK: making

    /// Marks the directory as one whose making has begun, and removes what an earlier making left.
    func beginMaking(_ marker: LedgerMarker) throws(LedgerFailure) {
        try onDisk { () throws(DiskError) in
            let names = try disk.list(options.path)
            if !names.contains(LedgerFiles.making) {
                try write(marker, to: makingPath)
            } else if !isReadable(makingPath) {
                try disk.remove(makingPath)
                try write(marker, to: makingPath)
            }
            // Anew: writing the marker took away what was left of an earlier one.
            for name in try disk.list(options.path)
            where LedgerFiles.isData(name) || name.hasSuffix(LedgerFiles.partSuffix) {
                try disk.remove(options.file(name))
            }
            try disk.syncDirectory(options.path)
        }
    }

    private func isReadable(_ path: String) -> Bool {
        do {
            _ = try read(path)
            return true
        } catch {
            return false
        }
    }

    /// A durable file, in its place as a whole or not at all.
    func write(_ marker: LedgerMarker, to path: String) throws(DiskError) {
        let part = path + LedgerFiles.partSuffix
        let names = try disk.list(options.path)
        if names.contains(where: { part == options.file($0) }) { try disk.remove(part) }
        let file = try disk.create(part, bytes: 0)
        let encoded = marker.encoded
        defer { encoded.keep() }
        try file.write(encoded.read, at: 0)
        try file.sync()
        try disk.rename(part, to: path)
        try disk.syncDirectory(options.path)
    }

    /// The new state is durable: a new ledger gets its marker, and what is of no use goes away.
    func settle(isNew: Bool, passedOver: [LedgerFailure]) throws(LedgerFailure) {
        try onDisk { () throws(DiskError) in
            if isNew {
                try disk.rename(makingPath, to: markerPath)
                try disk.syncDirectory(options.path)
            }
            let names = try disk.list(options.path)
            // What it says stands in the segments, synced, and in the new state.
            if names.contains(LedgerFiles.groupLog) {
                try disk.remove(options.file(LedgerFiles.groupLog))
            }
            for failure in passedOver where names.contains(where: { name in
                options.file(name) == failure.path
            }) {
                try setAside(failure.path)
            }
        }
    }

    /// Removes what was being written when a life ended: its names are wanted again.
    func removeParts() throws(LedgerFailure) {
        try onDisk { () throws(DiskError) in
            for name in try disk.list(options.path) where name.hasSuffix(LedgerFiles.partSuffix) {
                try disk.remove(options.file(name))
            }
        }
    }

    /// Brings to the disk what is there, before it is read: what the kernel has not written yet may
    /// never be.
    func syncAll() throws(LedgerFailure) {
        try onDisk { () throws(DiskError) in
            for name in try disk.list(options.path) where LedgerFiles.isData(name) {
                try disk.open(options.file(name), writable: false).sync()
            }
            try disk.syncDirectory(options.path)
        }
    }

    // MARK: quarantine

    /// Copies what is cut off, before anything new is written. The life tells one cut from another
    /// at the same place.
    func quarantine(_ cuts: [LedgerCut], life: UInt64) throws(LedgerFailure) {
        guard !cuts.isEmpty else { return }
        try onDisk { () throws(DiskError) in
            try disk.makeDirectory(quarantinePath)
            let known = try disk.list(quarantinePath)
            for cut in cuts {
                let name =
                    (cut.path.split(separator: "/").last.map(String.init) ?? "journal")
                    + "-\(cut.offset)-life\(life)"
                // Of a start that ended before it had served: maybe in the middle of this.
                if known.contains(name) { try disk.remove(quarantinePath + "/" + name) }
                let from = try disk.open(cut.path, writable: false)
                let block = Block(cut.bytes)
                defer { block.keep() }
                block.used = try from.read(into: block.bytes, at: cut.offset)
                let file = try disk.create(quarantinePath + "/" + name, bytes: 0)
                try file.write(block.read, at: 0)
                try file.sync()
            }
            try disk.syncDirectory(quarantinePath)
        }
    }

    /// Moves a file there as it is, or into a folder of it.
    func setAside(_ path: String, in folder: String? = nil) throws(DiskError) {
        try disk.makeDirectory(quarantinePath)
        var target = quarantinePath
        if let folder {
            target += "/" + folder
            try disk.makeDirectory(target)
            try disk.syncDirectory(quarantinePath)
        }
        let known = try disk.list(target)
        let own = path.split(separator: "/").last.map(String.init) ?? "file"
        var name = own
        var count = 1
        while known.contains(name) {
            name = "\(own)-\(count)"
            count &+= 1
        }
        try disk.rename(path, to: target + "/" + name)
        try disk.syncDirectory(target)
        try disk.syncDirectory(options.path)
    }
}
