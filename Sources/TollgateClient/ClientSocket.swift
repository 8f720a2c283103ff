import CLinux
import Glibc
import TollgateWire

/// A connected stream socket, not blocking, with what it has brought so far. Used by one thread at
/// a time; closed when let go.
final class ClientSocket {
    let descriptor: Int32
    private var incoming = FrameBuffer()

    enum Progress: Equatable {
        case bytes(Int)
        /// Nothing now.
        case blocked
        /// Nothing ever: the stream ended or broke.
        case ended
    }

    /// Connects; with the code `EAGAIN` the daemon is there, but its queue of connections is full.
    init(path: String) throws(ClientError) {
        let made = tg_unix_socket()
        guard made >= 0 else { throw .unreachable(path: path, code: -made) }
        descriptor = made
        let result = path.withCString { tg_unix_attach(made, $0, path.utf8.count, 1) }
        // From here on `deinit` closes.
        guard result == 0 else { throw .unreachable(path: path, code: -result) }
    }

    deinit { close(descriptor) }

    /// Sends what is left of `bytes` from `offset`, or the first part of it.
    func send(_ bytes: [UInt8], from offset: Int) -> Progress {
        bytes.withUnsafeBytes { view -> Progress in
            guard let base = view.baseAddress, offset < view.count else { return .bytes(0) }
            return progress { tg_send(descriptor, base + offset, view.count - offset) }
        }
    }

    func receive() -> Progress { progress { incoming.read(from: descriptor) } }

    func nextFrame() throws(ClientError) -> ReplyFrame? { try incoming.next() }

    private func progress(_ work: () -> Int) -> Progress {
        while true {
            let count = work()
            if count > 0 { return .bytes(count) }
            if count == -Int(EINTR) { continue }
            return count == -Int(EAGAIN) ? .blocked : .ended
        }
    }
}
