import ArgumentParser
import Glibc
import TollgateClient
import TollgatePolicy
import TollgateWire

/// Why a command ends without having done its work: what happened, what to do next, and the exit
/// code that stands for it (sysexits.h).
struct Failure: Error {
    enum Code: Int32 {
        case usage = 64, badData = 65, noInput = 66, unreachable = 69, unexpected = 70
        case output = 74, forbidden = 77, configuration = 78
    }

    var message: String
    var next: String?
    var code: Code

    init(_ code: Code, _ message: String, next: String? = nil) {
        self.code = code
        self.message = message
        self.next = next
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
        } else if isJSONWanted {
            Console.printError(json(TollgateCommand.message(for: error), next: nil))
        } else {
            Console.printError(TollgateCommand.fullMessage(for: error))
        }
        return code.rawValue
    }

    /// Also where the arguments could not be parsed.
    private static var isJSONWanted: Bool {
        CommandLine.arguments.prefix { $0 != "--" }.contains("--json")
    }

    private func print() {
        if Self.isJSONWanted { return Console.printError(Self.json(message, next: next)) }
        var text = "tollgate: \(visible(message))"
        if let next { text += "\n  \(visible(next))" }
        Console.printError(text)
    }

    private static func json(_ message: String, next: String?) -> String {
        var members: [(String, JSON)] = [("error", .text(message))]
        if let next { members.append(("next", .text(next))) }
        return JSON.object(members).text
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
                next: "run this as root or as the daemon's user, or join the socket's group")
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
        switch status {
        case .forbidden:
            return Failure(
                .forbidden, "the daemon forbids it: \(said)",
                next: "give its admin socket with --socket, as root or the daemon's own user")
        case .policyInvalid:
            return Failure(
                .configuration, "the policy is at fault, and the one in force stays:\n\(said)",
                next: "correct it until tollgate policy check FILE is content, then reload again")
        case .tooManyConnections, .unavailable:
            return Failure(.unreachable, "the daemon takes no more requests: \(said)")
        case .unknownMeter, .unknownPlan, .unknownOperation:
            return Failure(.usage, said, next: "tollgate policy show lists what the policy defines")
        case .malformedBody, .unitsOutOfRange: return Failure(.usage, said)
        default: return Failure(.unexpected, error.description)
        }
    }
}

/// The system's words for an errno.
func systemText(_ code: Int32) -> String { String(cString: strerror(code)) }
