import Glibc
import TollgatePolicy
import TollgateServer

/// Options and wiring; the daemon's life is in `Daemon`.
func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

/// Begins again with Swift's backtraces off, unless somebody chose: on a crash they write memory,
/// so secrets, to standard error. Their switch is read before any of our code runs. Where the
/// program cannot be started again it goes on as it is.
func silenceBacktraces() {
    guard getenv("SWIFT_BACKTRACE") == nil else { return }
    setenv("SWIFT_BACKTRACE", "enable=no", 1)
    var path = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
    guard readlink("/proc/self/exe", &path, Int(PATH_MAX)) > 0 else { return }
    execv(path, CommandLine.unsafeArgv)
}

do throws(OptionError) {
    let options = try Options(Array(CommandLine.arguments.dropFirst()), environment: environment)
    switch options.action {
    case .help:
        print(Options.help, terminator: "")
        exit(0)
    case .version:
        print("tollgated \(Daemon.version)")
        exit(0)
    case .check:
        do throws(PolicyErrors) {
            let loaded = try PolicyLoader.load(path: options.config)
            // Also that they can be read; the directory itself is the running daemon's alone.
            _ = try loaded.peppers(credentials: environment("CREDENTIALS_DIRECTORY"))
            try loaded.checkSinkFiles()
            printError("policy file \(options.config): the syntax is ok\n")
            printError("policy file \(options.config): test is successful\n")
            exit(0)
        } catch {
            printError("\(error)\npolicy file \(options.config): test failed\n")
            exit(78)
        }
    case .run:
        silenceBacktraces()
        exit(Daemon(options: options).run())
    }
} catch {
    printError("tollgated: \(error.message)\n")
    exit(64)
}
