/// What a process that is killed in the middle of a store leaves in mapped memory: a beginning of
/// what it wrote, in the order in which it wrote it.
extension SimulatedDisk {
    static let slotBytes = 32

    /// Keeps what is mapped as it stands, for `tear`.
    func rememberMapped() {
        remembered = [:]
        for (number, inode) in inodes where inode.mappings > 0 {
            remembered[number] = inode.copyOfMemory()
        }
    }

    /// Takes back the end of what was written since `rememberMapped`: at some slot, of which the
    /// bytes behind the checksum may stand already.
    func tear() {
        for number in remembered.keys.sorted() {
            guard let inode = inodes[number], let old = remembered[number] else { continue }
            old.withUnsafeBytes { tear(inode, back: $0) }
        }
        remembered = [:]
    }

    private func tear(_ inode: SimulatedInode, back old: UnsafeRawBufferPointer) {
        guard let base = old.baseAddress else { return }
        let slots = stride(from: 0, to: min(old.count, inode.size), by: Self.slotBytes).filter {
            !inode.isSame(base + $0, at: $0, count: Self.slotBytes)
        }
        let cut = Int(random.next() % UInt64(slots.count + 1))
        for (index, at) in slots.enumerated() where index >= cut {
            // The checksum, bytes 0 to 3, comes last: it is never there before the rest.
            let kept = index == cut ? Int(random.next() % UInt64(Self.slotBytes)) : 0
            inode.memory.advanced(by: at).copyMemory(from: base + at, byteCount: 4)
            let from = at + max(4, kept)
            inode.memory.advanced(by: kept < 4 ? at : from).copyMemory(
                from: base + (kept < 4 ? at : from),
                byteCount: at + Self.slotBytes - (kept < 4 ? at : from))
        }
    }
}
