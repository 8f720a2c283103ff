import Glibc

/// Reads JSON Lines piece by piece, so that the length of a file costs no memory; blank lines are
/// passed over.
final class RecordReader {
    struct Line {
        /// From 1.
        var number: Int
        /// Without the line feed.
        var bytes: [UInt8]
    }

    let path: String
    /// Of the file; `nil` for what has no size, such as a pipe.
    let sizeBytes: Int?
    private(set) var readBytes = 0
    private let descriptor: Int32
    private var buffer: [UInt8] = []
    private var start = 0
    private var lineNumber = 0
    private var isAtEnd = false
    private static let chunkBytes = 65_536
    /// What fits a request with some room.
    static let lineBytesMax = 60_000

    /// `-` is standard input.
    init(path: String) throws {
        self.path = path
        descriptor = path == "-" ? 0 : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Input.missing(path, errno) }
        var status = stat()
        let isFile = fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
        sizeBytes = isFile ? Int(status.st_size) : nil
    }

    deinit { if descriptor > 0 { close(descriptor) } }

    /// The next line that is not blank; `nil` at the end, or when the user interrupts.
    func next() throws -> Line? {
        while true {
            if let end = buffer[start...].firstIndex(of: 0x0a) {
                let line = Array(buffer[start..<end])
                start = end + 1
                if let line = try made(line) { return line }
                continue
            }
            guard !isAtEnd else {
                let line = Array(buffer[start...])
                (buffer, start) = ([], 0)
                return line.isEmpty ? nil : try made(line)
            }
            guard buffer.count - start <= Self.lineBytesMax else {
                lineNumber += 1
                throw tooLong()
            }
            guard try fill() else { return nil }
        }
    }

    private func made(_ bytes: [UInt8]) throws -> Line? {
        lineNumber += 1
        guard bytes.count <= Self.lineBytesMax else { throw tooLong() }
        let isBlank = bytes.allSatisfy { $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }
        return isBlank ? nil : Line(number: lineNumber, bytes: bytes)
    }

    private func tooLong() -> Failure {
        Failure(
            .badData,
            "\(path):\(lineNumber): longer than \(Self.lineBytesMax) bytes: that is no record")
    }

    /// False when the user interrupts.
    private func fill() throws -> Bool {
        buffer.removeFirst(start)
        start = 0
        var chunk = [UInt8](repeating: 0, count: Self.chunkBytes)
        while true {
            if Interruption.isAsked { return false }
            let count = read(descriptor, &chunk, chunk.count)
            if count >= 0 {
                readBytes += count
                isAtEnd = count == 0
                buffer += chunk[..<count]
                return true
            }
            guard errno == EINTR else { throw Input.missing(path, errno) }
        }
    }
}
