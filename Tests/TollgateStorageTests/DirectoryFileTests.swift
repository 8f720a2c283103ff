import CSQLite
import Foundation
import Testing
import TollgateCore

@testable import TollgateStorage

/// What a start accepts, and what it refuses (RELIABILITY D9, D12, N1).
@Suite struct DirectoryFileTests {
    @Test func aNewDirectoryIsPrivateAndSetAsPromised() throws {
        let folder = TestFolder()
        let store = try folder.store()
        var status = stat()
        #expect(stat(folder.file, &status) == 0 && status.st_mode & 0o777 == 0o600)
        let settings = [
            ("journal_mode", "truncate"), ("synchronous", "3"), ("foreign_keys", "1"),
            ("trusted_schema", "0"), ("busy_timeout", "0"),
            ("application_id", String(Schema.applicationID)),
            ("user_version", String(Schema.steps.count)), ("integrity_check", "ok"),
        ]
        for (name, value) in settings {
            #expect(try store.database.text("PRAGMA \(name)") == value, "\(name)")
        }
    }

    @Test func aSecondProcessIsRefusedWith75() throws {
        let folder = TestFolder()
        let store = try folder.store()
        let refused = try #require(fault { _ = try folder.store() })
        #expect(refused.kind == .locked && refused.exitCode == 75)
        #expect(refused.path == folder.path + "/directory.lock")
        withExtendedLifetime(store) {}
    }

    /// RELIABILITY D12: several connections to one file are what SQLite before 3.51.3 can damage.
    @Test func oneConnectionHoldsTheFile() throws {
        let folder = TestFolder()
        let store = try folder.store()
        func holders() throws -> Int {
            let links = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")
            return links.count { link in
                var target = [CChar](repeating: 0, count: 4_096)
                let count = readlink("/proc/self/fd/" + link, &target, target.count)
                guard count > 0 else { return false }
                let bytes = target.prefix(count).map { UInt8(bitPattern: $0) }
                return String(decoding: bytes, as: UTF8.self) == folder.file
            }
        }
        #expect(try holders() == 1)
        _ = try store.createOrganization(Sample.organization(), name: "n", by: Sample.change())
        try store.backUp(to: folder.path + "/backup.sqlite")
        try store.checkAll()
        try store.load { _ in }
        #expect(try holders() == 1)
    }

    /// RELIABILITY S48, S51: a lost file is no new directory.
    @Test func aDirectoryThatWasHereIsNeverTakenForANewOne() throws {
        for isRemoved in [true, false] {
            let folder = TestFolder()
            do { _ = try folder.store() }
            if isRemoved {
                try FileManager.default.removeItem(atPath: folder.file)
            } else {
                #expect(truncate(folder.file, 0) == 0)
            }
            let refused = try #require(fault { _ = try folder.store() })
            #expect(refused.kind == .unfit && refused.exitCode == 78)
            #expect(refused.words.contains("backup"))
            try FileManager.default.removeItem(atPath: folder.path + "/directory.made")
            #expect(try folder.store().organizations().items.isEmpty)
        }
    }

    /// Longer than any that we write, and than there is room for where names are kept.
    @Test func aNameThatIsTooLongIsDamageAndNoTrap() throws {
        let folder = TestFolder()
        do {
            let store = try folder.store()
            _ = try store.createOrganization(Sample.organization(), name: "n", by: Sample.change())
            try store.database.run(
                "UPDATE organizations SET id = ?", [.text(String(repeating: "x", count: 300))])
        }
        let store = try folder.store()
        #expect(throws: DirectoryError.self) { try store.load { _ in } }
        #expect(throws: DirectoryError.self) { try store.organizations() }
    }

    @Test func theLockIsGoneWithTheStore() throws {
        let folder = TestFolder()
        for _ in 0..<3 { _ = try folder.store() }
    }

    @Test func anOldLibraryIsRefused() {
        let refused = fault { try Database.checkLibrary(3_036_000, path: "x") }
        #expect(refused?.kind == .unfit && refused?.exitCode == 78)
        #expect(fault { try Database.checkLibrary(3_037_000, path: "x") } == nil)
    }

    @Test func hostilePlacesAreRefused() throws {
        let folder = TestFolder()
        chmod(folder.path, 0o770)
        #expect(fault { _ = try folder.store() }?.kind == .unfit)
        chmod(folder.path, 0o700)
        let link = folder.path + "-link"
        symlink(folder.path, link)
        defer { unlink(link) }
        #expect(fault { _ = try DirectoryStore(folder: link) }?.kind == .unfit)
        #expect(fault { _ = try DirectoryStore(folder: folder.path + "/none") }?.kind == .disk)
        // A link in the file's place leads nowhere and makes nothing.
        symlink("/tmp/tollgate-elsewhere-\(getpid())", folder.file)
        #expect(fault { _ = try folder.store() } != nil)
        #expect(access("/tmp/tollgate-elsewhere-\(getpid())", F_OK) != 0)
        unlink(folder.file)
        _ = try folder.store()
        chmod(folder.file, 0o640)
        let readable = try #require(fault { _ = try folder.store() })
        #expect(readable.kind == .unfit && readable.words.contains("chmod go="))
    }

    @Test func aNewerSchemaAndAnotherProgramsFileAreRefusedUntouched() throws {
        let folder = TestFolder()
        _ = try folder.store()
        for (pragma, words) in [
            ("user_version = 99", "newer Tollgate"), ("application_id = 7", "another program"),
        ] {
            let copy = try folder.copied()
            try Self.alter(copy.file, "PRAGMA \(pragma)")
            let before = try Data(fileBytes(copy.file))
            let refused = try #require(fault { _ = try copy.store() })
            #expect(refused.kind == .unfit && refused.words.contains(words))
            #expect(try Data(fileBytes(copy.file)) == before)
        }
    }

    @Test func aFileInWALModeIsRefused() throws {
        let folder = TestFolder()
        _ = try folder.store()
        try Self.alter(folder.file, "PRAGMA journal_mode=WAL; PRAGMA user_version = 1")
        let refused = try #require(fault { _ = try folder.store() })
        #expect(refused.kind == .unfit && refused.words.contains("WAL"))
    }

    @Test func damageIsRefusedAndNeverAnEmptyDirectory() throws {
        let folder = TestFolder()
        do {
            let store = try folder.store()
            for index in 0..<200 {
                _ = try store.createOrganization(
                    OrganizationID("tenant-\(index)"), name: "n", by: Sample.change())
            }
        }
        let whole = try Data(fileBytes(folder.file))
        let pages = whole.count / 4_096
        #expect(pages > 10)
        var damages: [(String, Data)] = [("cut short", whole.prefix(whole.count / 2 + 100))]
        damages.append(("no header", Data(repeating: 0x41, count: 4_096)))
        damages.append(("few bytes", whole.prefix(50)))
        for page in 0..<pages {
            var damaged = whole
            damaged.replaceSubrange(
                (page * 4_096)..<(page * 4_096 + 4_096), with: Data(repeating: 0xa5, count: 4_096))
            damages.append(("page \(page)", damaged))
        }
        for (what, bytes) in damages {
            let copy = TestFolder()
            try bytes.write(to: URL(fileURLWithPath: copy.file))
            chmod(copy.file, 0o600)
            let refused = fault { _ = try copy.store() }
            #expect(refused?.kind == .damaged && refused?.exitCode == 74, "\(what)")
            #expect(try Data(fileBytes(copy.file)) == bytes, "\(what)")
        }
    }

    @Test func aBackupIsTheWholeDirectoryAndReplacesNothing() throws {
        let folder = TestFolder()
        let store = try folder.store()
        _ = try store.createOrganization(Sample.organization(), name: "Acme", by: Sample.change())
        let restored = TestFolder()
        try store.backUp(to: restored.file)
        let again = try #require(fault { try store.backUp(to: restored.file) })
        #expect(again.kind == .disk && again.words.contains("exists"))
        #expect(access(restored.file + ".part", F_OK) != 0)
        var status = stat()
        #expect(stat(restored.file, &status) == 0 && status.st_mode & 0o777 == 0o600)
        let opened = try restored.store()
        #expect(
            try opened.organizations().items == store.organizations().items
                && opened.adminLog().items == store.adminLog().items)
    }

    @Test func aReaderThatLocksTheFileRefusesAChangeAndNothingMore() throws {
        let folder = TestFolder()
        let store = try folder.store()
        var reader: OpaquePointer?
        sqlite3_open(folder.file, &reader)
        defer { sqlite3_close(reader) }
        sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM organizations", nil, nil, nil)
        let refused = fault {
            _ = try store.createOrganization(
                Sample.organization(), name: "n", by: Sample.change())
        }
        #expect(refused?.kind == .locked)
        #expect(try store.organizations().items.isEmpty)
        sqlite3_exec(reader, "END", nil, nil, nil)
        _ = try store.createOrganization(Sample.organization(), name: "n", by: Sample.change())
    }

    private static func alter(_ file: String, _ sql: String) throws {
        var handle: OpaquePointer?
        #expect(sqlite3_open(file, &handle) == SQLITE_OK)
        #expect(sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK)
        sqlite3_close(handle)
    }
}
