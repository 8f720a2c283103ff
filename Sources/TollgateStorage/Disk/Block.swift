/// Memory of a fixed size, zeroed at first; freed with its last reference.
package final class Block {
    package let bytes: UnsafeMutableRawBufferPointer

    package init(_ count: Int) {
        bytes = .allocate(byteCount: max(count, 1), alignment: 16)
        bytes.initializeMemory(as: UInt8.self, repeating: 0)
        used = count
    }

    deinit { bytes.deallocate() }

    /// How much of it means something.
    package var used: Int

    package var read: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes.prefix(used))
    }
}
