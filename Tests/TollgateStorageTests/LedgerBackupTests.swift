import TestSupport
import Testing
import TollgateCore
import TollgateWire

@testable import TollgateStorage

private let copyPath = "/copy"

/// Copies of a ledger that goes on (RELIABILITY, D15).
@Suite struct LedgerBackupTests {
    /// A ledger with a past of its own, in small files.
    private final class Charged {
        let disk = MemoryDisk()
        let world: LedgerWorld
        var books = LedgerBooks()
        var random: SeededRandom

        init(_ random: SeededRandom, keepsGroupLog: Bool) throws {
            self.random = random
            disk.directories.insert(copyPath)
            world = try LedgerWorld(disk) {
                $0.segmentBytes = 64 * 1024
                $0.keepsGroupLog = keepsGroupLog
            }
            for _ in 0..<40 { step() }
        }

        /// Anything that a daemon does between two calls of another process.
        func step() {
            do {
                world.advance(milliseconds: Int64(random.next() % 300))
                world.charge(Int(random.next() % 12), &random, &books)
                switch random.next() % 12 {
                case 0...2: try world.ledger.tend()
                case 3...5: _ = world.ledger.flush(now: world.now)
                case 6: _ = try world.ledger.snapshot(now: world.now)
                default: break
                }
            } catch { Issue.record(error) }
        }

        func copy(_ told: () -> Void) throws(LedgerFailure) -> LedgerBackup.Copied {
            try LedgerBackup(of: LedgerWorld.path, into: copyPath, disk).copy { _, _ in told() }
        }

        func examined() throws -> LedgerExamination {
            let options = LedgerOptions(path: copyPath, bootID: (7, 8))
            return try LedgerInspection(options, disk).examine(now: world.now)
        }
    }

    /// Between any two pages that are copied it is charged and synced, and files come and go.
    @Test(arguments: [false, true])
    func aCopyOfALedgerThatIsChargedIsABeginningOfIt(keepsGroupLog: Bool) throws {
        var random = SeededRandom.printed("LedgerBackupTests")
        for _ in 0..<6 {
            let charged = try Charged(random, keepsGroupLog: keepsGroupLog)
            let before = charged.books
            let copied = try charged.copy(charged.step)
            let after = charged.books
            random = charged.random
            #expect(before != after && copied.files > 2 && copied.bytes > 8_192)
            let examination = try charged.examined()
            #expect(examination.failures == [])
            guard case .success = examination.start else {
                Issue.record("it would not start: \(String(describing: examination.start))")
                return
            }
            let restored = try LedgerWorld(charged.disk, path: copyPath, at: charged.world.now)
            #expect(restored.report.read == copied.generation)
            let found = LedgerBooks(restored, of: after)
            for (user, units) in found.users {
                #expect(units >= before.users[user] ?? 0 && units <= after.users[user] ?? 0)
            }
            #expect(Set(found.users.keys).isSuperset(of: before.users.keys))
            // A charge is there as a whole or not at all.
            for (organization, units) in found.tokens {
                let own = found.users.filter { $0.key.hasPrefix(organization + "/") }
                #expect(own.values.reduce(0, +) == units)
            }
            // It goes on from there.
            #expect(restored.charge("acme", "ada", tokens: 5) == .none)
        }
    }

    @Test func aCopyOfALedgerThatStandsStillIsTheSame() throws {
        let charged = try Charged(.printed("LedgerBackupTests"), keepsGroupLog: true)
        charged.disk.record = []
        let copied = try charged.copy {}
        // Nothing is done to the ledger but looked at.
        let calls = (charged.disk.record ?? []).filter { !$0.path.hasPrefix(copyPath) }
        #expect(Set(calls.map(\.call)).isSubset(of: [.list, .open, .read]))
        let files = charged.disk.files
        let snapshots = try charged.disk.list(LedgerWorld.path).filter {
            LedgerFiles.number($0, .snapshot) != nil
        }
        for (path, inode) in files where path.hasPrefix(LedgerWorld.path + "/") {
            let name = String(path.dropFirst(LedgerWorld.path.utf8.count + 1))
            guard let copy = files[copyPath + "/" + name] else {
                #expect(name == "lock" || snapshots.dropLast().contains(name))
                continue
            }
            let bytes = { (inode: MemoryDisk.Inode) in
                UnsafeRawBufferPointer(inode.memory).prefix(inode.size)
            }
            #expect(inode.size == copy.size && bytes(inode).elementsEqual(bytes(copy)))
        }
        #expect(copied.bytes < files.values.reduce(0) { $0 + $1.size })
        try LedgerBackup(of: LedgerWorld.path, into: copyPath, charged.disk).clear()
        #expect(try charged.disk.list(copyPath) == [])
    }

    /// The disk fails at a call, one in eleven of all: then it says so, and what is there is no
    /// ledger.
    @Test func aCopyThatWasCutShortIsNoLedger() throws {
        let charged = try Charged(.printed("LedgerBackupTests"), keepsGroupLog: true)
        let backup = LedgerBackup(of: LedgerWorld.path, into: copyPath, charged.disk)
        var failed = 0
        while true {
            failed += 11
            charged.disk.fault = .once(failed, 5)
            do throws(LedgerFailure) {
                _ = try backup.copy { _, _ in }
                charged.disk.fault = nil
                break
            } catch {
                #expect(error.kind == .disk && error.errno == 5)
            }
            let names = try charged.disk.list(copyPath)
            if names.contains(LedgerFiles.marker) {
                // Of its own calls at most, which come last: everything else is there.
                let count = try charged.disk.list(LedgerWorld.path).count
                #expect(names.count >= count - 2)
            }
            try backup.clear()
        }
        #expect(failed > 100)
        #expect(try charged.examined().failures == [])
    }

    @Test func whatIsNoLedgerIsNotCopied() throws {
        let disk = MemoryDisk()
        disk.directories = ["/ledger", "/copy"]
        let backup = LedgerBackup(of: LedgerWorld.path, into: copyPath, disk)
        #expect(throws: LedgerFailure(.unfit, "/ledger", "there is no ledger in it")) {
            try backup.copy { _, _ in }
        }
        disk.files["/ledger/ledger.making"] = MemoryDisk.Inode(0)
        #expect(throws: LedgerFailure.self) { try backup.copy { _, _ in } }
        disk.files["/ledger/ledger.making"] = nil
        disk.files["/ledger/journal-000000000001.tgj"] = MemoryDisk.Inode(0)
        #expect(throws: LedgerFailure(.damaged, "/ledger/ledger.id", "is missing")) {
            try backup.copy { _, _ in }
        }
        #expect(try disk.list(copyPath) == [])
    }

    /// Files that always go before they are opened.
    @Test func aLedgerWhoseFilesComeAndGoIsToldSo() throws {
        let charged = try Charged(.printed("LedgerBackupTests"), keepsGroupLog: false)
        charged.disk.hides = { $0.hasSuffix(".tgs") }
        do throws(LedgerFailure) {
            _ = try charged.copy {}
            Issue.record("it was copied")
        } catch { #expect(error.kind == .gone) }
    }
}
