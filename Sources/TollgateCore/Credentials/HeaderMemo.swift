import Glibc
import TollgateWire

/// The last few headers that came with a good signature, and the key each was verified with: the
/// usual header costs one comparison. Owned by one `TokenVerifier`.
///
/// An entry says: these exact header characters are acceptable to this issuer and choose this key.
/// It does not say that a token is good. Only headers of verified tokens enter, so nobody without
/// a key can push out another's; all are forgotten when the `IssuerTable` is another.
struct HeaderMemo: ~Copyable {
    static let entriesMax = 8
    static let headerBytesMax = 256

    private struct Entry: BitwiseCopyable {
        var bytes: Int
        var issuer: Int
        var key: Int
    }

    private let entries: UnsafeMutablePointer<Entry>
    private let texts: UnsafeMutableRawPointer
    private var count = 0
    private var next = 0
    private var last = 0
    private var tableID: UInt64 = 0

    init() {
        entries = .allocate(capacity: Self.entriesMax)
        texts = .allocate(byteCount: Self.entriesMax * Self.headerBytesMax, alignment: 16)
    }

    deinit {
        entries.deallocate()
        texts.deallocate()
    }

    /// Forgets everything when `table` is not the one that the entries belong to.
    @inline(__always)
    mutating func use(_ table: IssuerTable) {
        if tableID == table.id { return }
        tableID = table.id
        count = 0
        next = 0
        last = 0
    }

    /// The entry whose header is exactly `header`, from the last hit on; -1 when there is none.
    @inline(__always)
    mutating func find(_ header: UnsafeRawBufferPointer) -> Int {
        if last < count, matches(last, header) { return last }
        for index in 0..<count where matches(index, header) {
            last = index
            return index
        }
        return -1
    }

    func issuer(_ index: Int) -> Int { entries[index].issuer }
    func key(_ index: Int) -> Int { entries[index].key }

    /// Another issuer's entry of the same characters is replaced: `find` knows one.
    mutating func remember(_ header: UnsafeRawBufferPointer, issuer: Int, key: Int) {
        guard header.count <= Self.headerBytesMax else { return }
        var index = find(header)
        if index < 0 {
            index = next
            next = (next &+ 1) % Self.entriesMax
            count = max(count, index &+ 1)
        }
        entries[index] = Entry(bytes: header.count, issuer: issuer, key: key)
        UnsafeMutableRawBufferPointer(
            start: texts + index &* Self.headerBytesMax, count: Self.headerBytesMax
        ).copyMemory(from: header)
        last = index
    }

    @inline(__always)
    private func matches(_ index: Int, _ header: UnsafeRawBufferPointer) -> Bool {
        guard entries[index].bytes == header.count, let base = header.baseAddress else {
            return false
        }
        return memcmp(texts + index &* Self.headerBytesMax, base, header.count) == 0
    }
}
