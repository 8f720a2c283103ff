import CLinux
import Glibc
import TollgateCore
import TollgateStorage
import TollgateWire

/// What was used in periods that are over, and in those that go on.
extension LedgerService {
    /// Slots of a shard that are looked at under its lock at once.
    private static let sliceSlots = 4_096
    /// So few rows that closing their periods leaves room in a shard's journal.
    private static let closingSlots = 64
    /// How long a shard's journal may take to get more room.
    private static let roomNanoseconds: UInt64 = 20_000_000_000
    private static let roomPauseMicroseconds: UInt32 = 2_000

    func listUsage(_ arguments: CallArguments) throws(LedgerCalls.Refusal) -> JSONValue {
        let period = try Self.period(arguments)
        let isOpenWanted = arguments.flag("open")
        let organization = arguments.optionalText("organization")
        let limit = Int(clamping: arguments.integer("limit") ?? 100)
        let after = arguments.optionalText("after")
        let isWhole = organization == nil && exported.isWithoutGap(period.days, after: after)
        var place = ClosedPlace()
        if let after {
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
            if isWhole, place.isOpen { exported.end(period.days, through: place.cursor) }
            if isWhole, !place.isOpen { exported.goOn(period.days, at: place.text) }
        }
        if place.isOpen, isOpenWanted, !page.isFull {
            place = add(openFrom: place, to: &page, period, organization)
        }
        let isEnd = isOpenWanted ? place.isEnd : place.isOpen
        return DirectoryPage(items: page.items, next: isEnd ? nil : place.text).json
    }

    /// Nothing of a period that was not shown as a whole before, unless that is what is asked for.
    func pruneUsage(_ arguments: CallArguments) throws(LedgerCalls.Refusal) -> JSONValue {
        let period = try Self.period(arguments)
        try refuseWhileOpen(period, "export them when they are over, and then prune")
        try closeWhatIsOver()
        let isForced = arguments.flag("not_exported")
        let through = isForced ? UsageCursor() : exported.through(period.days)
        guard let through else { throw Self.notExported("was not exported") }
        var (last, more) = (through, 0)
        var isEnd = false
        while !isEnd {
            let part = try LedgerCalls.onDisk { () throws(LedgerFailure) in
                try ledger.closedPeriods(after: last, count: 100_000) {
                    period.days.contains($0.period.startDay)
                }
            }
            more += part.periods.count
            (last, isEnd) = (part.next, part.isEnd)
        }
        guard isForced || more == 0 else {
            throw Self.notExported("has grown by \(more) entries that were not exported")
        }
        let count = try LedgerCalls.onDisk { () throws(LedgerFailure) in
            try ledger.pruneClosed(through: last) { period.days.contains($0.period.startDay) }
        }
        // Places in the archive are others now.
        exported = ExportedUsage()
        log.info("ledger: \(count) closed periods pruned")
        return PruneOutcome(pruned: UInt64(count)).json
    }

    private static func notExported(_ words: String) -> LedgerCalls.Refusal {
        .init(
            .conflict, "usage of that time " + words + ", as a whole and since the daemon started;"
                + " export it first (tollgate usage export), or, if it is not wanted, say so"
                + " (--not-exported)")
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

    /// In every shard, and from memory to the archive. Where the journal has no room it waits for
    /// more, and it leaves callers theirs: it goes on in a shard that has a region ahead.
    private func closeWhatIsOver() throws(LedgerCalls.Refusal) {
        for shard in 0..<Engine.shardCount {
            var cursor = 0
            var deadline = tg_boottime() &+ Self.roomNanoseconds
            while cursor >= 0 {
                let before = cursor
                let hasRoom = hasRegionAhead(shard: shard) && engine.closePeriods(
                    shard: shard, slots: Self.closingSlots, cursor: &cursor, now: Self.now)
                if cursor != before { deadline = tg_boottime() &+ Self.roomNanoseconds }
                guard !hasRoom else { continue }
                try waitForRoom(until: deadline)
            }
        }
        guard archive() else {
            throw .init(.storageFailed, trouble.worst?.words ?? "the archive cannot be written")
        }
    }

    /// In trouble none comes: then what is there is used, down to the last.
    private func hasRegionAhead(shard: Int) -> Bool {
        let isWanted = engine.wantsRegions & (1 << UInt64(shard)) != 0
        return !isWanted || trouble.has(.supply) || engine.currentLedgerState != .serving
    }

    /// Has regions brought, and waits for a moment.
    private func waitForRoom(until deadline: UInt64) throws(LedgerCalls.Refusal) {
        if trouble.has(.sync) || trouble.has(.supply), let worst = trouble.worst {
            throw .init(
                .storageFailed, "periods that are over cannot be closed: \(worst.words)")
        }
        guard !hasToEnd else { throw .init(.unavailable, "the daemon is ending") }
        guard tg_boottime() < deadline else {
            throw .init(
                .busy, "files of the journal are made too slowly to close all periods that are"
                    + " over; ask again, and it goes on from there")
        }
        ledger.giveReady()
        bells.supply.ring()
        usleep(Self.roomPauseMicroseconds)
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
                    return ClosedPlace(cursor: part.from, skipped: skipped + taken)
                }
            }
            taken += 1
        }
        return part.isEnd
            ? .firstOpen(behind: part.next) : ClosedPlace(cursor: part.next, skipped: 0)
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

    /// `cursor`: where what is closed ended.
    static func firstOpen(behind cursor: UsageCursor) -> ClosedPlace {
        var place = ClosedPlace(cursor: cursor, skipped: 0)
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
