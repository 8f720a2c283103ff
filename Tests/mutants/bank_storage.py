"""The ledger's files: what is synced when, what is removed, what a start believes."""

from mutant import Mutant, of

LEDGER = "Sources/TollgateStorage/Ledger/"
FLUSH = LEDGER + "Ledger+Flush.swift"
WRITER = LEDGER + "SnapshotWriter.swift"
SEGMENT = LEDGER + "SegmentFile.swift"
CHAIN = LEDGER + "JournalChain.swift"
READING = LEDGER + "LedgerReading.swift"
ARCHIVE = LEDGER + "UsageArchive.swift"


def storage(suites: str) -> tuple[str, ...]:
    return of("TollgateStorageTests", suites)


POWER = of("SimulationTests", "SimulationTests/aPowerCut")
KILL = of("SimulationTests", "SimulationTests/aKilled")

STORAGE = [
    Mutant("fsync-retried", FLUSH,
           "} catch {\n            enterTrouble(live, error)\n"
           "            return leaveTrouble(live, error, now)",
           "} catch {\n            return .refusing(error)",
           "a sync that failed is tried again, and the kernel says that all is well",
           storage("LedgerFaultTests/aFailedSync")),
    Mutant("fsync-error-forgotten", "Sources/TollgateStorage/Disk/SystemFile.swift",
           "failure.store(Int32(truncatingIfNeeded: -result), ordering: .releasing)\n",
           "",
           "a file whose sync failed may be synced again",
           storage("LedgerDiskTests")),
    Mutant("journal-given-on-after-trouble", LEDGER + "RegionSupply.swift",
           "for shard in files.indices { files[shard] = [] }\n            open = nil",
           "for shard in files.indices { files[shard] = [] }",
           "after a failed sync the same file is written to again",
           storage("LedgerFaultTests/aFailedSync")),
    Mutant("tail-damage-is-torn", CHAIN,
           "if chain.next < required {",
           "if chain.next < required, chain.cuts.isEmpty {",
           "damage of what was synced is cut off as if it had never been acknowledged",
           storage("LedgerDamageTests/aFlippedBit LedgerDamageTests/aFileThatWasCut")),
    Mutant("marks-ignored", CHAIN,
           "if let marked = reader.syncedThrough(behind: stop) {",
           "if let marked = reader.syncedThrough(behind: stop), marked == .max {",
           "what marks say of what was synced is not asked for",
           storage("LedgerDamageTests/marksAlone")),
    Mutant("missing-file-passed-over", READING,
           "guard segment.header.number == expected else {",
           "guard segment.header.number >= expected else {",
           "a file of the journal that is gone is not missed",
           storage("LedgerDamageTests/aFileThatIsMissing")),
    Mutant("unreadable-is-damaged", READING,
           "guard error.kind == .damaged else { throw error }\n                progress",
           "progress",
           "a generation that the disk cannot read now is set aside, and an older one saved over",
           storage("LedgerFaultTests/aGenerationThat")),
    Mutant("lost-marker-is-a-new-ledger", LEDGER + "LedgerPlace.swift",
           "names.first(where: isLedgerFile) {",
           "names.first(where: { isLedgerFile($0) && $0.isEmpty }) {",
           "a ledger whose marker is gone is taken for none, and written over",
           storage("LedgerTests/aLostMarker")),
    Mutant("segment-removed-too-early", LEDGER + "Ledger+Snapshots.swift",
           "for generation in kept {\n            guard",
           "for generation in kept.suffix(1) {\n            guard",
           "the older generation lacks the journal behind it",
           storage("LedgerDamageTests/theOlderGeneration")),
    Mutant("generation-not-raised", LEDGER + "Ledger+Snapshots.swift",
           "record.lastGeneration &+= 1",
           "record.lastGeneration = max(record.lastGeneration, 1)",
           "a snapshot takes the place of the one before",
           storage("LedgerTests")),
    Mutant("life-not-raised", LEDGER + "Ledger.swift",
           "report.life = start.life &+ 1\n",
           "report.life = max(start.life, 1)\n",
           "slots of the life before are taken for this one's",
           storage("LedgerTests LedgerDamageTests")),
    Mutant("two-ledgers", "Sources/TollgateStorage/Disk/SystemDisk.swift",
           "flock(descriptor, operation | LOCK_NB) == 0 ? 0",
           "flock(descriptor, LOCK_SH | LOCK_NB) == 0 ? 0",
           "two daemons write one ledger",
           storage("LedgerDiskTests/oneLock")),
    Mutant("two-directories", "Sources/TollgateStorage/Directory/DirectoryPlace.swift",
           "while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {",
           "while flock(descriptor, LOCK_SH | LOCK_NB) != 0 {",
           "two daemons write one directory",
           storage("DirectoryFileTests/aSecondProcess")),
    Mutant("segment-name-not-synced", SEGMENT,
           "try disk.rename(part, to: path)\n            try disk.syncDirectory(options.path)\n",
           "try disk.rename(part, to: path)\n",
           "a power cut takes a file of the journal with its name",
           POWER),
    Mutant("snapshot-not-synced", WRITER,
           "try onDisk { () throws(DiskError) in try file?.sync() }\n            return .journal",
           "return .journal",
           "a snapshot has its name before its bytes are on the disk",
           POWER),
    Mutant("snapshot-ahead-of-journal", WRITER,
           "if shards.contains(where: { $0.start != $0.end }) {",
           "if shards.contains(where: { $0.start > $0.end }) {",
           "a snapshot is durable before the journal that it needs",
           POWER),
    Mutant("closed-periods-not-synced", ARCHIVE,
           "try place.file.sync()\n        through = reached\n        open = place",
           "through = reached\n        open = place",
           "closed periods leave memory before they are on the disk",
           POWER),
    Mutant("archive-ahead-of-journal", ARCHIVE,
           "try syncJournal()\n        do throws",
           "do throws",
           "a period that was archived closes again after a power cut",
           POWER),
    Mutant("sync-skipped", FLUSH,
           "for segment in round.files {",
           "for segment in round.files.dropLast() {",
           "a round says that all is on the disk, and one file is not",
           POWER),
    Mutant("reply-before-write", "Sources/TollgateCore/Ledger/ShardJournal.swift",
           "if let unsealed { seal(unsealed) }\n        guard let slot = next",
           "if let unsealed, nextSequence & 63 != 0 { seal(unsealed) }\n"
           "        guard let slot = next",
           "now and then a slot is not whole when its charge is answered",
           KILL),
]
