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

    @Test func aDirectoryHigherUpThatOthersMayChangeIsRefused() throws {
        let directory = try ServerHarness.freshDirectory()
        let inner = directory + "/inner"
        mkdir(inner, 0o700)
        defer {
            rmdir(inner)
            rmdir(directory)
        }
        chmod(directory, 0o770)
        fails(inner + "/d.sock", exitCode: 78, mentions: "another directory in the place")
        fails(inner + "/../inner/d.sock", exitCode: 78, mentions: "another directory")
        // As in /tmp: only an entry's owner may replace it.
        chmod(directory, 0o1777)
        let listener = try Listener(.init(path: inner + "/d.sock", mode: 0o660))
        listener.unlinkOwn()
        unlink(inner + "/d.sock.lock")
        fails(directory + "/./d.sock", exitCode: 78, mentions: "written by others")
        fails(inner + "/../d.sock", exitCode: 78, mentions: "written by others")
        chmod(directory, 0o700)
    }

    @Test func linksToDirectoriesAreFollowedWhereOnlyWeCanSetThemButForTheLast() throws {
        let directory = try ServerHarness.freshDirectory()
        mkdir(directory + "/real", 0o700)
        mkdir(directory + "/real/inner", 0o700)
        symlink("real", directory + "/link")
        symlink("loop", directory + "/loop")
        symlink(directory + "/real/inner", directory + "/absolute")
        defer {
            for name in ["/link", "/loop", "/absolute"] { unlink(directory + name) }
            unlink(directory + "/real/inner/d.sock.lock")
            for name in ["/real/inner", "/real", ""] { rmdir(directory + name) }
        }
        fails(directory + "/link/d.sock", exitCode: 78, mentions: "symbolic link")
        fails(directory + "/loop/x/d.sock", exitCode: 78, mentions: "too many symbolic")
        fails(directory + "/absolute/d.sock", exitCode: 78, mentions: "symbolic link")
        for path in ["/link/inner/d.sock", "/absolute/../inner/d.sock"] {
            let listener = try Listener(.init(path: directory + path, mode: 0o660))
            listener.unlinkOwn()
        }
    }

    @Test func aLockOrASocketThatIsALinkIsNotFollowed() throws {
        let directory = try ServerHarness.freshDirectory()
        let path = directory + "/d.sock"
        symlink("/etc/hostname", path + ".lock")
        fails(path, exitCode: 73, mentions: "lock file")
        unlink(path + ".lock")
        symlink(directory + "/elsewhere.sock", path)
        fails(path, exitCode: 78, mentions: "not a socket")
        for name in ["", ".lock"] { unlink(path + name) }
        rmdir(directory)
    }

    @Test func onlyAListeningUnixSocketIsTakenOver() throws {
        var pair: [Int32] = [0, 0]
        socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair)
        let internet = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        listen(internet, 1)
        defer { for descriptor in pair + [internet] { close(descriptor) } }
        for descriptor in [pair[0], internet, 9_999] {
            #expect(throws: StartError.self) {
                _ = try Listener(adopting: descriptor, named: "data")
            }
        }
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
