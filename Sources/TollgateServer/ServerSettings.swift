/// What a server is started with. The daemon reads it from the policy file and its options.
package struct ServerSettings: Sendable {
    package struct Socket: Sendable {
        package var path: String
        package var mode: UInt32
        /// Group id that the socket is given to; `nil` leaves it.
        package var group: UInt32?

        package init(path: String, mode: UInt32, group: UInt32? = nil) {
            self.path = path
            self.mode = mode
            self.group = group
        }
    }

    package var data: Socket
    package var admin: Socket
    package var roles = RoleRules()
    /// Reactors; each is a thread.
    package var threads = 1
    package var connectionsMax = 10_000
    package var connectionsPerUserMax: Int?
    package var frameBytesMax = 65_536
    /// A frame's header must be whole this long after its first byte, a frame this long.
    package var headerDeadlineNanoseconds: UInt64 = 2_000_000_000
    package var frameDeadlineNanoseconds: UInt64 = 5_000_000_000
    /// A peer for whom replies wait must read some of them within this time.
    package var writeDeadlineNanoseconds: UInt64 = 10_000_000_000
    /// Of requests and replies that wait, over all connections.
    package var bufferBytesMax = 128 << 20
    /// How long a drain may take.
    package var drainNanoseconds: UInt64 = 5_000_000_000

    package init(data: Socket, admin: Socket) {
        self.data = data
        self.admin = admin
    }
}

/// Why a server did not start, with the process' exit code (sysexits.h).
package struct StartError: Error, Sendable, Equatable {
    package var message: String
    package var exitCode: Int32

    package init(_ message: String, exitCode: Int32) {
        self.message = message
        self.exitCode = exitCode
    }
}
