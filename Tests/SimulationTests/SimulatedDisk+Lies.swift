/// A disk that lies about syncs: after every other one, what it says to be durable stands in a
/// cache of its own. It writes that out soon, page by page in any order, and loses what is left
/// with the power.
extension SimulatedDisk {
    struct Cached {
        enum Part: Equatable {
            case page(inode: Int, page: Int)
            case size(inode: Int, bytes: Int)
            /// Changes of names in a directory.
            case names(directory: String)
        }

        var part: Part
        /// The call of the disk before which it is written out.
        var due: Int
    }

    /// Whether the sync that is asked for is one that only seems to happen.
    func lies() -> Bool { faults.liesAboutSync && random.next() % 2 == 0 }

    /// A sync of a directory that lied.
    func cacheNames(_ directory: String) { cache([.names(directory: directory)]) }

    /// A sync of a file that lied.
    func cache(_ inode: SimulatedInode, _ number: Int) {
        let pending = inode.pending
        var parts = pending.pages.map { Cached.Part.page(inode: number, page: $0) }
        if pending.size { parts.append(.size(inode: number, bytes: inode.size)) }
        cache(parts)
    }

    /// For up to 1, 2, 4 and so on to 64 calls of the disk: mostly a moment, at times long.
    private func cache(_ parts: [Cached.Part]) {
        guard writesCacheOut else { return }
        let calls: UInt64 = 1 << (random.next() % 7)
        for part in parts {
            cached.append(Cached(part: part, due: callCount + 1 + Int(random.next() % calls)))
        }
    }

    /// Before every call.
    func writeOutCache() {
        guard !cached.isEmpty else { return }
        let now = callCount
        let due = cached.filter { $0.due <= now }
        cached.removeAll { $0.due <= now }
        for entry in due {
            switch entry.part {
            case .page(let number, let page): inodes[number]?.settle(page)
            case .size(let number, let bytes): inodes[number]?.settle(size: bytes)
            case .names(let directory): settleNames(directory)
            }
        }
    }
}
