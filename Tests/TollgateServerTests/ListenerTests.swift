import CLinux
import Glibc
import Testing

@testable import TollgateServer

@Suite struct ListenerTests {
    private func fails(_ path: String, exitCode: Int32, mentions words: String) {
        do {
            _ = try Listener(.init(path: path, mode: 0o660))
            Issue.record("listened at \(path)")
        } catch {
            #expect(error.exitCode == exitCode && error.message.contains(words), "\(error.message)")
        }
    }

    @Test func unsafePlacesAreRefused() throws {
        let directory = try ServerHarness.freshDirectory()
        defer { rmdir(directory) }
        fails("@abstract", exitCode: 78, mentions: "absolute")
        fails("relative.sock", exitCode: 78, mentions: "absolute")
        fails("/" + String(repeating: "a", count: 107), exitCode: 78, mentions: "shorter")
        fails(directory + "/missing/d.sock", exitCode: 78, mentions: "create it")
        fails("/tmp/tollgate.sock", exitCode: 78, mentions: "written by others")
        chmod(directory, 0o777)
        fails(directory + "/d.sock", exitCode: 78, mentions: "written by others")
        chmod(directory, 0o770)
        fails(directory + "/d.sock", exitCode: 78, mentions: "written by others")
        chmod(directory, 0o700)
        let link = directory + "-link"
        symlink(directory, link)
        fails(link + "/d.sock", exitCode: 78, mentions: "symbolic")
        unlink(link)
        let file = directory + "/file"
        close(open(file, O_CREAT | O_WRONLY, 0o600))
        fails(file, exitCode: 78, mentions: "not a socket")
        unlink(file)
        unlink(file + ".lock")
    }

    @Test func aLiveSocketIsNeverReplacedAndADeadOneIs() throws {
        let directory = try ServerHarness.freshDirectory()
        let path = directory + "/d.sock"
        do {
            let first = try Listener(.init(path: path, mode: 0o660))
            fails(path, exitCode: 75, mentions: "another daemon")
            unlink(path + ".lock")
            fails(path, exitCode: 75, mentions: "listens there")
            withExtendedLifetime(first) {}
        }
        // The first is gone without having cleaned up.
        let second = try Listener(.init(path: path, mode: 0o640))
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o640)
        second.unlinkOwn()
        #expect(lstat(path, &status) != 0)
        unlink(path + ".lock")
        rmdir(directory)
    }
}
