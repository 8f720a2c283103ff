import TollgateCore
import TollgateStorage
import TollgateWire

/// What was used in periods that are over, and in those that go on.
extension LedgerService {
    /// Slots of a shard that are looked at under its lock at once.
    private static let sliceSlots = 4_096

    func listUsage(_ arguments: CallArguments) throws(LedgerCalls.Refusal) -> JSONValue {
        let period = try Self.period(arguments)
        let isOpenWanted = arguments.flag("open")
        let organization = arguments.optionalText("organization")
        let limit = Int(clamping: arguments.integer("limit") ?? 100)
        var place = ClosedPlace()
        if let after = arguments.optionalText("after") {
            guard let read = ClosedPlace(after) else { throw .invalidCursor }
            place = read
        } else {
            try closeWhatIsOver()
            if !isOpenWanted {
                try refuseWhileOpen(
                    period, "ask again when they are over, or also for those that are open (--open)"
                )
            }
        }
        var page = UsagePage(limit: limit)
        if !place.isOpen {
            place = try add(closedFrom: place, to: &page) {
                period.days.contains($0.startDay)
                    && (organization ?? $0.organization) == $0.organization
            }
        }
        if place.isOpen, isOpenWanted, !page.isFull {
            place = add(openFrom: place, to: &page, period, organization)
        }
        let isEnd = isOpenWanted ? place.isEnd : place.isOpen
        return DirectoryPage(items: page.items, next: isEnd ? nil : place.text).json
    }

    /// Nothing of a period that could not have been shown as a whole: what is over and was not
    /// closed yet goes on, here, until `listUsage` has closed it.
    func pruneUsage(_ arguments: CallArguments) throws(LedgerCalls.Refusal) -> JSONValue {
        let period = try Self.period(arguments)
        try refuseWhileOpen(period, "export them when they are over, and then prune")
        let count = try LedgerCalls.onDisk { () throws(LedgerFailure) in
            var last = UsageCursor()
            while true {
                let part = try ledger.closedPeriods(after: last, count: 100_000) { _ in true }
                last = part.next
                if part.isEnd { break }
            }
            return try ledger.pruneClosed(through: last) {
                period.days.contains($0.period.startDay)
            }
        }
        log.info("ledger: \(count) closed periods pruned")
        return PruneOutcome(pruned: UInt64(count)).json
    }

    private static func period(
        _ arguments: CallArguments
    ) throws(LedgerCalls.Refusal) -> UsagePeriod {
        guard let period = arguments.optionalText("period").flatMap({ UsagePeriod($0) }) else {
            throw .init(
                .invalidValue, "period: is neither a month (2026-10) nor a day (2026-10-31)")
        }
        return period
    }

    /// In every shard, and from memory to the archive.
    private func closeWhatIsOver() throws(LedgerCalls.Refusal) {
        for shard in 0..<Engine.shardCount {
            var cursor = 0
            while cursor >= 0 {
                guard engine.closePeriods(
                    shard: shard, slots: Self.sliceSlots, cursor: &cursor, now: Self.now)
                else {
                    throw .init(
                        .storageFailed, "periods that are over cannot be closed:"
                            + " \(trouble.worst?.words ?? "the journal has no room")")
                }
            }
        }
        guard archive() else {
            throw .init(.storageFailed, trouble.worst?.words ?? "the archive cannot be written")
        }
    }

    private func refuseWhileOpen(
        _ period: UsagePeriod, _ advice: String
    ) throws(LedgerCalls.Refusal) {
        let isAhead = engine.billingTime(Self.now) < period.isOverEverywhereAt
        var open = 0
        for shard in 0..<Engine.shardCount {
            var cursor = 0
            while cursor >= 0 {
                open += engine.openPeriods(
                    shard: shard, slots: Self.sliceSlots, cursor: &cursor, days: period.days,
                    now: Self.now
                ).count
            }
        }
        guard isAhead || open > 0 else { return }
        throw .init(
            .conflict, "\(open) quotas go on whose period began then"
                + (isAhead ? ", and more may begin" : "") + "; " + advice)
    }

    // MARK: pages

    private func add(
        closedFrom place: ClosedPlace, to page: inout UsagePage,
        _ isWanted: (ClosedPeriod) -> Bool
    ) throws(LedgerCalls.Refusal) -> ClosedPlace {
        let skipped = place.skipped
        let limit = page.limit
        let part = try LedgerCalls.onDisk { () throws(LedgerFailure) in
            try ledger.closedPeriods(after: place.cursor, count: skipped + limit) {
                isWanted($0.period)
            }
        }
        var taken = 0
        for entry in part.periods.dropFirst(skipped) {
            // A counter that is no quota has no period; nothing else closes.
            if let usage = PeriodUsage(entry.period, counter: entry.counter, isOpen: false) {
                guard page.add(usage) else {
                    return ClosedPlace(cursor: place.cursor, skipped: skipped + taken)
                }
            }
            taken += 1
        }
        return part.isEnd ? .firstOpen : ClosedPlace(cursor: part.next, skipped: 0)
    }

    private func add(
        openFrom place: ClosedPlace, to page: inout UsagePage, _ period: UsagePeriod,
        _ organization: String?
    ) -> ClosedPlace {
        let names = engine.counterNames
        var place = place
        while place.shard < Engine.shardCount {
            var cursor = place.slot
            let found = engine.openPeriods(
                shard: place.shard, slots: UsagePage.sliceSlots, cursor: &cursor,
                days: period.days, now: Self.now
            ).filter { (organization ?? $0.organization) == $0.organization }
            let usages = found.compactMap { period in
                Int(period.counter) < names.count
                    ? PeriodUsage(period, counter: names[Int(period.counter)], isOpen: true) : nil
            }
            // All of a slice or none: its rows may have moved when it is asked for again.
            guard page.add(all: usages) else { return place }
            if cursor < 0 { place.nextShard() } else { place.slot = cursor }
        }
        return place
    }
}

/// As many documents as a reply holds.
struct UsagePage {
    /// So few rows that what they count fits a reply of its own.
    static let sliceSlots = 8

    let limit: Int
    private(set) var items: [PeriodUsage] = []
    private var bytes = 0
    private(set) var isFull = false

    init(limit: Int) { self.limit = limit }

    /// False, and nothing added, when there is no room; the first always has.
    mutating func add(_ usage: PeriodUsage) -> Bool { add(all: [usage]) }

    mutating func add(all usages: [PeriodUsage]) -> Bool {
        let more = usages.reduce(0) { $0 + $1.json.bytes.count + 1 }
        guard usages.isEmpty || items.isEmpty
            || (items.count + usages.count <= limit && bytes + more <= CallReply.listBytesMax)
        else {
            isFull = true
            return false
        }
        items += usages
        bytes += more
        return true
    }
}

/// Where a list of usage goes on: among what is closed, then among what is open.
struct ClosedPlace: Equatable {
    var cursor = UsageCursor()
    /// Of what is wanted behind the cursor, so many were given already.
    var skipped = 0
    private(set) var isOpen = false
    private(set) var shard = 0
    var slot = 0

    init() {}

    init(cursor: UsageCursor, skipped: Int) {
        self.cursor = cursor
        self.skipped = skipped
    }

    static var firstOpen: ClosedPlace {
        var place = ClosedPlace()
        place.isOpen = true
        return place
    }

    var isEnd: Bool { isOpen && shard >= Engine.shardCount }

    mutating func nextShard() {
        shard += 1
        slot = 0
    }

    var text: String {
        isOpen ? "o.\(shard).\(slot)" : "c.\(cursor.file).\(cursor.offset).\(skipped)"
    }

    /// `nil` for what `text` never is.
    init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let numbers = parts.dropFirst().compactMap { UInt64($0) }.map { Int(clamping: $0) }
        guard numbers.count == parts.count - 1, numbers.allSatisfy({ $0 < Int.max / 4 }) else {
            return nil
        }
        switch (parts.first, numbers.count) {
        case ("c", 3):
            cursor = UsageCursor(file: UInt64(numbers[0]), offset: numbers[1])
            skipped = numbers[2]
        case ("o", 2) where numbers[0] < Engine.shardCount:
            isOpen = true
            shard = numbers[0]
            slot = numbers[1]
        default: return nil
        }
    }
}
