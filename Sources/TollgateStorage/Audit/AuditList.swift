/// A list of at most so many, in memory that is used again. Traps beyond it.
struct AuditList<Element: BitwiseCopyable>: ~Copyable {
    private let base: UnsafeMutablePointer<Element>
    private let most: Int
    private(set) var count = 0

    init(_ most: Int) {
        self.most = most
        base = .allocate(capacity: most)
    }

    deinit { base.deallocate() }

    @inline(__always)
    mutating func append(_ element: Element) {
        precondition(count < most)
        (base + count).initialize(to: element)
        count &+= 1
    }

    @inline(__always)
    subscript(_ place: Int) -> Element {
        precondition(place >= 0 && place < count)
        return base[place]
    }

    mutating func removeAll() { count = 0 }

    /// A copy.
    var all: [Element] { Array(UnsafeBufferPointer(start: base, count: count)) }
}
