import TestSupport

/// Every disk that a power cut may leave at one moment: each subset of what was on its way to the
/// disk (changes of names, pages, sizes), and each page torn at each of its sectors, the rest there
/// or not.
struct CrashImages {
    /// More than so many are not taken in all subsets: the ends, each alone, and some at random.
    static let exhaustiveMax = 10

    enum Part: Hashable {
        case name(Int)
        case page(inode: Int, page: Int)
        case size(inode: Int)
    }

    /// What survives, and of one page which sectors.
    struct Choice: Hashable {
        var parts: Set<Part>
        var torn: Part?
        var sectors: ClosedRange<Int> = 0...7
    }

    let parts: [Part]
    let choices: [Choice]
    /// All subsets are among them.
    var isExhaustive: Bool { parts.count <= subsetsMax }
    private let subsetsMax: Int

    init(_ disk: SimulatedDisk, subsetsMax: Int = CrashImages.exhaustiveMax) {
        self.subsetsMax = subsetsMax
        var parts: [Part] = disk.pendingNames.indices.map { .name($0) }
        for number in disk.inodes.keys.sorted() {
            guard let pending = disk.inodes[number]?.pending else { continue }
            parts += pending.pages.map { .page(inode: number, page: $0) }
            if pending.size { parts.append(.size(inode: number)) }
        }
        self.parts = parts
        var seen: Set<Choice> = []
        var choices: [Choice] = []
        func add(_ choice: Choice) { if seen.insert(choice).inserted { choices.append(choice) } }
        for set in Self.subsets(of: parts, subsetsMax) { add(Choice(parts: set)) }
        for part in parts {
            guard case .page = part else { continue }
            for sector in 0..<7 {
                for rest in [Set(parts), [part]] {
                    add(Choice(parts: rest, torn: part, sectors: 0...sector))
                    add(Choice(parts: rest, torn: part, sectors: (sector + 1)...7))
                }
            }
        }
        self.choices = choices
    }

    private static func subsets(of parts: [Part], _ most: Int) -> [Set<Part>] {
        if parts.count <= most {
            return (0..<(1 << parts.count)).map { bits in
                Set(parts.indices.filter { bits & (1 << $0) != 0 }.map { parts[$0] })
            }
        }
        let all = Set(parts)
        var random = SeededRandom(seed: UInt64(parts.count))
        var some: [Set<Part>] = [[], all]
        for part in parts { some += [[part], all.subtracting([part])] }
        for _ in 0..<32 { some.append(Set(parts.filter { _ in random.next() % 2 == 0 })) }
        return some
    }

    /// The disk as the next process finds it.
    static func image(_ disk: SimulatedDisk, _ choice: Choice) -> SimulatedDisk {
        let image = disk.fork()
        image.cutPower {
            choice.parts.contains(.name($0))
        } bytes: { inode, page, sector in
            if page < 0 { return choice.parts.contains(.size(inode: inode)) }
            let part = Part.page(inode: inode, page: page)
            guard choice.parts.contains(part) else { return false }
            return choice.torn != part || choice.sectors.contains(sector)
        }
        return image
    }
}

extension SimulatedDisk {
    /// The same for disks that hold the same, whatever led there.
    var digest: Int {
        var hasher = Hasher()
        for (path, number) in names.files.sorted(by: { $0.key < $1.key }) {
            hasher.combine(path)
            guard let inode = inodes[number] else { continue }
            hasher.combine(inode.size)
            hasher.combine(bytes: UnsafeRawBufferPointer(start: inode.memory, count: inode.size))
        }
        return hasher.finalize()
    }
}
