import TestSupport
import Testing
import TollgateCore
import TollgateWire

@testable import TollgateStorage

/// What tells damage from a torn end is itself on the disk, and may be damaged together with what
/// it tells of: each pair of such damages is told, or costs nothing.
@Suite struct LedgerEvidenceTests {
    private static var options: LedgerOptions {
        var options = LedgerOptions(path: "/ledger", bootID: (7, 8))
        (options.segmentBytes, options.threads) = (64 * 1024, 1)
        return options
    }

    private struct Place {
        var path: String
        var offset: Int
        var isSector = false

        func damage(_ disk: MemoryDisk) {
            guard let inode = disk.files[path], offset < inode.size else { return }
            guard isSector else {
                inode.memory[offset] ^= 4
                return
            }
            for at in offset..<min(offset + 512, inode.size) { inode.memory[at] = 0 }
        }
    }

    /// Of each region that anything was written to: its header, its last slots, and its end.
    private func losses(_ disk: MemoryDisk) throws -> [Place] {
        var places: [Place] = []
        for number in LedgerFiles.numbers(try disk.list("/ledger"), .journal) {
            let scan = try SegmentScan(Self.options, number: number, ledger: nil, disk)
            for (offset, header) in scan.regions {
                let block = try scan.read(offset, Int(header.bytes))
                let slots = stride(from: 64, to: Int(header.bytes), by: 32).filter { at in
                    (at..<(at + 32)).contains { block.bytes[$0] != 0 }
                }
                guard let last = slots.last else { continue }
                places.append(Place(path: scan.path, offset: offset + 17))
                places.append(Place(path: scan.path, offset: offset + last + 2))
                let end = offset + max(0, last - 512 + 32)
                places.append(Place(path: scan.path, offset: end, isSector: true))
            }
        }
        return places
    }

    /// Bytes before the regions of files that have a table of what was synced.
    private func evidence(_ disk: MemoryDisk) throws -> [Place] {
        var places: [Place] = []
        for number in LedgerFiles.numbers(try disk.list("/ledger"), .journal) {
            let scan = try SegmentScan(Self.options, number: number, ledger: nil, disk)
            let inode = try #require(disk.files[scan.path])
            guard scan.table.round > 0 else { continue }
            for offset in 64..<SegmentHeader.bytes where inode.memory[offset] != 0 {
                if offset % 3 == 0 { places.append(Place(path: scan.path, offset: offset)) }
                guard offset == 64 || inode.memory[offset - 1] == 0 else { continue }
                places.append(Place(path: scan.path, offset: offset, isSector: true))
            }
        }
        return places
    }

    @Test func noDamageHidesAnother() throws {
        var random = SeededRandom(seed: 9)
        let (disk, books, now) = try LedgerDamageTests.small(&random)
        let (losses, evidence) = (try losses(disk), try evidence(disk))
        #expect(losses.count >= 9 && evidence.count > 60)
        var count = 0
        for loss in losses {
            for place in evidence {
                count += 1
                guard count % max(1, 19 / testScale) == 0 else { continue }
                let damaged = disk.copy()
                loss.damage(damaged)
                place.damage(damaged)
                let words = "\(loss) and \(place)"
                let plan = try LedgerInspection(Self.options, damaged, repairing: true)
                    .planRepair(now: now)
                if plan.isNeeded, !plan.losses.isEmpty { continue }
                if plan.isNeeded {
                    _ = try LedgerInspection(Self.options, damaged, repairing: true)
                        .repair(now: now)
                }
                let found = LedgerBooks(try LedgerWorld(damaged), of: books)
                #expect(found == books, "\(words): says that nothing is lost")
            }
        }
        print("pairs of damages: \(count)")
    }
}
