import TollgateWire

/// Memory of a fixed size, zeroed at first unless it says otherwise; freed with its last reference.
package final class Block {
    package let bytes: UnsafeMutableRawBufferPointer

    package init(_ count: Int) {
        bytes = .allocate(byteCount: max(count, 1), alignment: 16)
        bytes.zero()
        used = count
    }

    /// For what is read or written before it is looked at: not zeroed.
    package init(unfilled count: Int) {
        bytes = .allocate(byteCount: max(count, 1), alignment: 16)
        used = count
    }

    deinit { bytes.deallocate() }

    /// Its memory is there up to here: a name's last use ends its object, and pointers into it do
    /// not count. So `defer` this where a block is made.
    package func keep() { withExtendedLifetime(self) {} }

    /// How much of it means something.
    package var used: Int

    package var read: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes.prefix(used))
    }
}
