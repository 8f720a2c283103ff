import ArgumentParser
import TollgateClient

/// How the user chooses a socket.
struct SocketNames {
    var option = "--socket"
    var variable: String
    /// What who may not open this one may do.
    var otherRoles = ""
}

/// Milliseconds to wait for the daemon.
private func checkTimeout(_ milliseconds: Int) throws {
    guard (1...600_000).contains(milliseconds) else {
        throw ValidationError("--timeout is 1 to 600000 milliseconds, not \(milliseconds)")
    }
}

/// For commands that any client of the daemon may give.
struct DataOptions: ParsableArguments {
    @Option(
        help: "The daemon's socket (default: TOLLGATE_SOCKET, or /run/tollgate/tollgate.sock).",
        completion: .file())
    var socket: String?
    @Option(help: "Milliseconds to wait for an answer.") var timeout = 2_000
    @OptionGroup var output: OutputOptions

    func validate() throws { try checkTimeout(timeout) }

    func ask<T>(_ work: (BlockingClient) throws(ClientError) -> T) throws -> T {
        let path = socket ?? environment("TOLLGATE_SOCKET") ?? "/run/tollgate/tollgate.sock"
        let client = BlockingClient(path: path, timeoutMilliseconds: timeout)
        do throws(ClientError) { return try work(client) } catch {
            throw Failure(error, SocketNames(variable: "TOLLGATE_SOCKET"))
        }
    }
}

/// For commands that root, the daemon's own user, and who else the policy gives the role admin
/// may give; calls of the role issue go to the data socket as well.
struct AdminOptions: ParsableArguments {
    @Option(
        name: [.customLong("socket"), .customLong("admin-socket")],
        help: """
            The daemon's admin socket (default: TOLLGATE_ADMIN_SOCKET, or /run/tollgate/admin.sock).
            """,
        completion: .file())
    var socket: String?
    @Option(help: "Milliseconds to wait for an answer (default: 5000).") var timeout: Int?
    @OptionGroup var output: OutputOptions

    func validate() throws { if let timeout { try checkTimeout(timeout) } }

    static let names = SocketNames(
        variable: "TOLLGATE_ADMIN_SOCKET",
        otherRoles: "; with the role issue, name the data socket with --socket")

    var client: BlockingClient {
        let path = socket ?? environment("TOLLGATE_ADMIN_SOCKET") ?? "/run/tollgate/admin.sock"
        return BlockingClient(path: path, timeoutMilliseconds: timeout ?? 5_000)
    }

    func ask<T>(_ work: (BlockingClient) throws(ClientError) -> T) throws -> T {
        do throws(ClientError) { return try work(client) } catch {
            throw Failure(error, Self.names)
        }
    }
}
