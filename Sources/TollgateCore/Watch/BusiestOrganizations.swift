/// Which organizations have the most decisions of late, of any number of organizations and in
/// bounded memory: the *space-saving* sketch (Metwally, Agrawal and El Abbadi, "Efficient
/// Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005), whose weights are
/// halved as time goes by.
///
/// A decision weighs 1, and half of that after each `halve`. Where `capacity` organizations stand,
/// a new one takes the place of the lightest, and its weight too: by so much it may be too heavy.
///
/// Invariants, up to the rounding of doubles, with W the weight of all decisions: of each that
/// stands `true weight ≤ weight ≤ true weight + error`; who does not stand weighs at most
/// `missedMax`; and `error ≤ missedMax ≤ W / capacity`.
///
/// Owned by one thread or guarded by its owner. Allocates at first sight of an organization alone.
package struct BusiestOrganizations {
    /// One organization that stands.
    package struct Entry: Sendable, Equatable {
        package var organization: String
        package var isPersonal: Bool
        /// In decisions, the older ones for less.
        package var weight: Double
        /// How much too heavy it may be.
        package var error: Double
        /// Whole decisions since it stands; never halved.
        package var allowed: UInt64
        package var denied: UInt64
    }

    /// By all 96 bits of a keyed hash: nobody outside can make two organizations look like one.
    private struct Key: Hashable {
        var hash: UInt64
        var fingerprint: UInt32
    }

    private struct Place {
        var key: Key
        var name: [UInt8]
        var isPersonal: Bool
        var weight: Double
        var error: Double
        var allowed: UInt64 = 0
        var denied: UInt64 = 0
        /// Where it stands in `heap`.
        var heapIndex: Int
    }

    package static let capacityDefault = 1_024

    package let capacity: Int
    private let hash: KeyedHash
    /// The weight of all decisions.
    package private(set) var weight = 0.0
    // Of both at most `capacity`: places never move, the heap has their indices, the lightest
    // first. Halving keeps its order.
    private var places: [Place] = []
    private var heap: [Int] = []
    private var known: [Key: Int] = [:]

    package init(_ engine: Engine, capacity: Int = capacityDefault) {
        self.init(engine.hash, capacity: capacity)
    }

    init(_ hash: KeyedHash, capacity: Int) {
        precondition(capacity > 0)
        self.hash = hash
        self.capacity = capacity
    }

    /// How many stand.
    package var count: Int { places.count }

    /// Who does not stand weighs at most so much.
    package var missedMax: Double {
        places.count < capacity ? 0 : places[heap[0]].weight
    }

    /// One decision of an organization.
    package mutating func add(
        _ organization: UnsafeRawBufferPointer, isPersonal: Bool, isAllowed: Bool
    ) {
        let tenant = TenantHash(organization, isPersonal: isPersonal, hash)
        let key = Key(hash: tenant.hash, fingerprint: tenant.fingerprint)
        weight += 1
        let index = known[key] ?? place(key, organization, isPersonal: isPersonal)
        places[index].weight += 1
        if isAllowed { places[index].allowed += 1 } else { places[index].denied += 1 }
        sink(places[index].heapIndex)
    }

    /// All that was counted so far weighs half as much.
    package mutating func halve() {
        weight /= 2
        for index in places.indices {
            places[index].weight /= 2
            places[index].error /= 2
        }
    }

    /// The heaviest, at most so many; those that weigh the same by name.
    package func heaviest(_ most: Int) -> [Entry] {
        let order = places.indices.sorted { a, b in
            places[a].weight != places[b].weight
                ? places[a].weight > places[b].weight
                : places[a].name.lexicographicallyPrecedes(places[b].name)
        }
        return order.prefix(most).map { index in
            let place = places[index]
            return Entry(
                organization: String(decoding: place.name, as: UTF8.self),
                isPersonal: place.isPersonal, weight: place.weight, error: place.error,
                allowed: place.allowed, denied: place.denied)
        }
    }

    // MARK: places

    /// A place for who has none: a new one, or that of the lightest.
    private mutating func place(
        _ key: Key, _ name: UnsafeRawBufferPointer, isPersonal: Bool
    ) -> Int {
        guard places.count == capacity else {
            let index = places.count
            places.append(
                Place(
                    key: key, name: Array(name), isPersonal: isPersonal, weight: 0, error: 0,
                    heapIndex: heap.count))
            heap.append(index)
            rise(heap.count - 1)
            known[key] = index
            return index
        }
        let index = heap[0]
        let lightest = places[index]
        known[lightest.key] = nil
        known[key] = index
        places[index] = Place(
            key: key, name: Array(name), isPersonal: isPersonal, weight: lightest.weight,
            error: lightest.weight, heapIndex: 0)
        return index
    }

    private mutating func rise(_ start: Int) {
        var at = start
        while at > 0, places[heap[at]].weight < places[heap[(at - 1) / 2]].weight {
            swap(at, (at - 1) / 2)
            at = (at - 1) / 2
        }
    }

    private mutating func sink(_ start: Int) {
        var at = start
        while true {
            var lightest = at
            for child in (2 * at + 1)...(2 * at + 2)
            where child < heap.count && places[heap[child]].weight < places[heap[lightest]].weight {
                lightest = child
            }
            guard lightest != at else { return }
            swap(at, lightest)
            at = lightest
        }
    }

    private mutating func swap(_ a: Int, _ b: Int) {
        heap.swapAt(a, b)
        places[heap[a]].heapIndex = a
        places[heap[b]].heapIndex = b
    }

    /// Traps when the structure contradicts itself. Linear; for tests.
    func checkInvariants() {
        precondition(places.count <= capacity && heap.count == places.count)
        precondition(known.count == places.count)
        for (at, index) in heap.enumerated() {
            precondition(places[index].heapIndex == at && known[places[index].key] == index)
            precondition(at == 0 || places[heap[(at - 1) / 2]].weight <= places[index].weight)
        }
    }
}
