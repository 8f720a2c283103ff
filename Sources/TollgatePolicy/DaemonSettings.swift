/// How the daemon runs: the `daemon` part of a policy file.
package struct DaemonSettings: Sendable, Equatable {
    package struct Socket: Sendable, Equatable {
        package var path: String
        package var mode: UInt32
        /// Name of the group that the socket is given to.
        package var group: String?
    }
    package enum LogLevel: Int, Sendable { case error, warning, info, debug }
    package enum LogFormat: Sendable { case text, json }

    package var dataSocket = Socket(path: "/run/tollgate/tollgate.sock", mode: 0o660)
    package var adminSocket = Socket(path: "/run/tollgate/admin.sock", mode: 0o600)
    package var roles = RoleSettings()
    /// `nil`: one per core, at most four.
    package var threads: Int?
    package var connectionsMax = 10_000
    package var connectionsPerUserMax: Int?
    package var frameBytesMax = 65_536
    package var organizationsMax = 100_000
    package var usersMax = 1_000_000
    package var addressesMax = 1_000_000
    package var logLevel = LogLevel.info
    package var logFormat = LogFormat.text

    package init() {}

    init(_ node: YAMLNode, _ reader: SchemaReader) {
        let values = reader.mapping(node, "daemon", known: PolicySchema.daemonKeys)
        Self.read(values["data_socket"], into: &dataSocket, "data_socket", reader)
        Self.read(values["admin_socket"], into: &adminSocket, "admin_socket", reader)
        if dataSocket.path == adminSocket.path {
            reader.fail(
                values["admin_socket"] ?? values["data_socket"] ?? node,
                "data_socket and admin_socket have the same path")
        }
        roles = values["roles"].map { RoleSettings($0, reader) } ?? roles
        func count(_ key: String, _ range: ClosedRange<UInt64>) -> Int? {
            reader.integer(values[key], key, range).map { Int($0) }
        }
        threads = count("threads", 1...64)
        connectionsMax = count("connections_max", 1...100_000) ?? connectionsMax
        connectionsPerUserMax = count("connections_per_user_max", 1...100_000)
        frameBytesMax = count("frame_bytes_max", 1_024...65_536) ?? frameBytesMax
        organizationsMax = count("organizations_max", 1...50_000_000) ?? organizationsMax
        usersMax = count("users_max", 1...50_000_000) ?? usersMax
        addressesMax = count("addresses_max", 1...50_000_000) ?? addressesMax
        let levels: [(String, LogLevel)] = [
            ("error", .error), ("warning", .warning), ("info", .info), ("debug", .debug),
        ]
        logLevel = reader.choice(values["log_level"], "log_level", levels) ?? logLevel
        let formats: [(String, LogFormat)] = [("text", .text), ("json", .json)]
        logFormat = reader.choice(values["log_format"], "log_format", formats) ?? logFormat
    }

    /// What the address of a socket holds (`sun_path`), but for the zero behind it.
    private static let pathBytesMax = 107

    private static func read(
        _ node: YAMLNode?, into socket: inout Socket, _ what: String, _ reader: SchemaReader
    ) {
        guard let node else { return }
        let values = reader.mapping(node, what, known: PolicySchema.socketKeys)
        if let path = values["path"], let text = reader.text(path, "path") {
            socket.path = text
            if !text.hasPrefix("/") || text.utf8.count > pathBytesMax || text.utf8.contains(0) {
                reader.fail(path, "path begins with / and has at most \(pathBytesMax) bytes")
            }
        }
        socket.mode = reader.mode(values["mode"], "mode") ?? socket.mode
        socket.group = reader.text(values["group"], "group")
    }
}
