import ArgumentParser
import Glibc
import TollgateClient
import TollgatePolicy
import TollgateWire

/// Why a command ends without having done its work: what happened, what to do next, and the exit
/// code that stands for it (sysexits.h).
struct Failure: Error {
    enum Code: Int32 {
        /// There is no such thing, or one is there already, or it cannot be now, or the user said
        /// no.
        case notDone = 1
        /// What a decision and a refresh are refused with.
        case denied = 2
        case usage = 64, badData = 65, noInput = 66, unreachable = 69, unexpected = 70
        /// Standard output, a file, or the daemon's disk.
        case output = 74
        /// Busy or interrupted: the same again, later, goes on.
        case tryAgain = 75
        case forbidden = 77, configuration = 78
    }

    var message: String
    var next: String?
    var code: Code
    /// What else the error says as JSON, for programs.
    var members: [(String, JSON)] = []
    /// The daemon's, where it is what failed.
    var status: Status?
    /// A log's bytes are not those that were written.
    var isDamage = false

    init(_ code: Code, _ message: String, next: String? = nil, status: Status? = nil) {
        self.code = code
        self.message = message
        self.next = next
        self.status = status
    }

    /// Says on standard error what ended the command; its exit code.
    static func report(_ error: any Error) -> Int32 {
        if let code = error as? ExitCode { return code.rawValue }
        if let failure = error as? Failure {
            failure.print()
            return failure.code.rawValue
        }
        // What the argument parser throws: help and versions too.
        let code = TollgateCommand.exitCode(for: error)
        if code.isSuccess {
            do {
                try Console.print(TollgateCommand.fullMessage(for: error))
            } catch { return report(error) }
        } else {
            Failure(ofArguments: error).print()
        }
        return code.rawValue
    }

    /// What the argument parser says, with a next step as all others have.
    private init(ofArguments error: any Error) {
        var next =
            TollgateCommand.named(in: CommandLine.arguments.dropFirst())
            + " --help says what it takes"
        // Ids made of random characters may look like an option.
        let options = CommandLine.arguments.prefix { $0 != "--" }
        if options.contains(where: { $0.count > 2 && $0.hasPrefix("-") && !$0.hasPrefix("--") }) {
            next += "; an id that begins with - goes behind a --, after all options"
        }
        self.init(.usage, TollgateCommand.message(for: error), next: next)
    }

    /// Also where the arguments could not be parsed.
    private static var isJSONWanted: Bool {
        CommandLine.arguments.prefix { $0 != "--" }.contains("--json")
    }

    private func print() { Console.printError(words) }

    /// As standard error has it.
    var words: String {
        if Self.isJSONWanted { return json }
        var text = "tollgate: \(visible(message))"
        if let next { text += "\n  \(visible(next))" }
        return text
    }

    private var json: String {
        var said: [(String, JSON)] = [("error", .text(message))]
        if let next { said.append(("next", .text(next))) }
        if let status { said.append(("status", .text("\(status)"))) }
        return JSON.object(said + members).text
    }
}

extension Failure {
    /// `socket` names the option and the variable that choose the socket.
    init(_ error: ClientError, _ socket: SocketNames) {
        switch error {
        case .unreachable(let path, let code): self = .unreachable(path, code, socket)
        case .timedOut:
            self.init(
                .unreachable, error.description,
                next: "it may be busy or stopped; --timeout waits longer")
        case .disconnected:
            self.init(
                .unreachable, error.description, next: "it may be starting again: try once more")
        case .cancelled, .tooManyWaiting: self.init(.unreachable, error.description)
        case .refused(let status, let detail): self = .refused(status, detail, error)
        case .malformedReply:
            self.init(
                .unexpected, error.description,
                next: "is the socket Tollgate's, and of this version? (tollgate health)")
        case .invalidRequest(let what): self.init(.usage, what)
        }
    }

    private static func unreachable(
        _ path: String, _ code: Int32, _ socket: SocketNames
    ) -> Failure {
        let other = "name another socket with \(socket.option) or \(socket.variable)"
        let start = "start the daemon (tollgated -c FILE), or \(other)"
        switch code {
        case ENOENT: return Failure(.unreachable, "there is no socket at \(path)", next: start)
        case ECONNREFUSED:
            return Failure(
                .unreachable, "nobody listens at \(path): its daemon has ended", next: start)
        case EACCES, EPERM:
            return Failure(
                .forbidden, "you may not open \(path)",
                next: "run this as root or as the daemon's user, or join the socket's group"
                    + socket.otherRoles)
        case ENAMETOOLONG:
            return Failure(.usage, "\"\(path)\" is not 1 to 107 bytes long", next: other)
        default:
            return Failure(
                .unreachable, "cannot reach the daemon at \(path): \(systemText(code))",
                next: start)
        }
    }

    private static func refused(
        _ status: Status, _ detail: String, _ error: ClientError
    ) -> Failure {
        let said = detail.isEmpty ? error.description : detail
        let (code, message, next) = refusal(status, said, error)
        return Failure(code, message, next: next, status: status)
    }

    private static func refusal(
        _ status: Status, _ said: String, _ error: ClientError
    ) -> (Code, String, next: String?) {
        switch status {
        case .forbidden:
            (
                .forbidden, "the daemon forbids it: \(said)",
                "give its admin socket with --socket, as root, the daemon's own user or one whom"
                    + " the policy gives the role (daemon: roles:)"
            )
        case .policyInvalid:
            (
                .configuration, "the policy is at fault, and the one in force stays:\n\(said)",
                "correct it until tollgate policy check FILE is content, then reload again"
            )
        case .tooManyConnections, .unavailable:
            (.unreachable, "the daemon takes no more requests: \(said)", nil)
        case .unknownMeter, .unknownPlan, .unknownOperation:
            (.usage, said, "tollgate policy show lists what the policy defines")
        case .malformedBody, .unitsOutOfRange: (.usage, said, nil)
        case .notFound:
            (.notDone, said, "tollgate org list, user list, key list and so on show what there is")
        case .alreadyExists: (.notDone, said, "take another id, or look at what is there")
        case .invalidValue: (.usage, said, nil)
        case .conflict: (.notDone, said, nil)
        case .storageFailed:
            (
                .output, "nothing was changed: the daemon's disk did not take it: \(said)",
                "make room, or look at the daemon's log; then try again"
            )
        case .noDirectory:
            (
                .configuration, "the daemon has no directory: \(said)",
                "name one under directory: in its policy, and start it again"
            )
        case .busy: (.tryAgain, "the daemon is busy: \(said)", "try again in a moment")
        case .refreshRefused:
            (.denied, said, "log in again: tollgate token issue")
        default: (.unexpected, error.description, nil)
        }
    }
}

/// The system's words for an errno.
func systemText(_ code: Int32) -> String { String(cString: strerror(code)) }
