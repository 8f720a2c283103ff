import TollgateWire

/// What the row of an idempotency id holds: which request it stands for, and the first answer. The
/// row's owner is the organization's fingerprint, its hash that of the id within the organization.
/// Integers are little-endian; so it stands in journals and snapshots.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 24 | `KeptHead` |
/// | 24 | 8 | keyed hash of the request: opcode, user, operation, meters and units |
/// | 32 | 2 | bytes of the answer |
/// | 34 | 6 | spare, 0 |
/// | 40 | | the answer's body, without explain |
struct IdempotencyRecord: BitwiseCopyable {
    static let headBytes = 40

    let row: Row
    private let base: UnsafeMutableRawPointer

    init(_ row: Row) {
        self.row = row
        base = row.counters
    }

    var kept: KeptRow { KeptRow(row) }

    var request: UInt64 {
        get { UInt64(littleEndian: base.load(fromByteOffset: 24, as: UInt64.self)) }
        nonmutating set {
            base.storeBytes(of: newValue.littleEndian, toByteOffset: 24, as: UInt64.self)
        }
    }

    private var answerBytes: Int {
        Int(UInt16(littleEndian: base.load(fromByteOffset: 32, as: UInt16.self)))
    }
    var answer: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base + Self.headBytes, count: answerBytes)
    }
    /// What a journal needs of it.
    var contentBytes: Int { Self.headBytes + answerBytes }

    /// Keeps the answer, for which there is room.
    func setAnswer(_ answer: UnsafeRawBufferPointer) {
        precondition(answer.count <= row.content.count - Self.headBytes)
        base.storeBytes(
            of: UInt16(answer.count).littleEndian, toByteOffset: 32, as: UInt16.self)
        if let from = answer.baseAddress {
            (base + Self.headBytes).copyMemory(from: from, byteCount: answer.count)
        }
    }

    /// Whether content that was read from a disk is what its head says. Traps on no bytes.
    static func isWhole(_ content: UnsafeRawBufferPointer) -> Bool {
        guard content.count >= headBytes else { return false }
        return headBytes + Int(content.loadLittle(at: 32, as: UInt16.self)) <= content.count
    }
}

extension IdempotencyID {
    /// Lends what its row is looked up by.
    @inline(__always)
    func withKey<R>(
        organizationHash: UInt64, fingerprint: UInt32, _ hash: KeyedHash, _ body: (RowKey) -> R
    ) -> R {
        withUnsafeBytes(of: (low.littleEndian, high.littleEndian)) {
            body(
                RowKey(
                    kind: .idempotency, owner: fingerprint, id: $0,
                    hash: hash.hash($0, tweak: organizationHash)))
        }
    }
}
