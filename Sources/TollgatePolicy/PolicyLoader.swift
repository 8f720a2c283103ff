import Glibc
import TollgateCore

/// A policy file as it was read.
package struct LoadedPolicy: Sendable {
    package var definition: PolicyDefinition
    package var daemon: DaemonSettings
}

/// Reads and checks policy files. Strict: what is not understood is an error, and nothing of a
/// file with an error is used.
package enum PolicyLoader {
    package static let fileBytesMax = 4 << 20

    /// The policy in a file; throws all that is wrong with it, each with its place. A policy that
    /// loads also compiles.
    package static func load(path: String) throws(PolicyErrors) -> LoadedPolicy {
        try load(bytes: try read(path), file: path)
    }

    /// The same for bytes in memory; key files are sought beside `file`, and read by `readKey`.
    package static func load(
        bytes: [UInt8], file: String, readKey: @escaping KeyReader = KeyFiles.read
    ) throws(PolicyErrors) -> LoadedPolicy {
        let schema = SchemaReader(file: file)
        let root = try YAMLReader.read(bytes, schema: schema)
        let directory = file.lastIndex(of: "/").map { String(file[..<$0]) } ?? "."
        let reader = PolicyReader(
            reader: schema, keyFiles: KeyFiles(directory: directory, read: readKey),
            zones: TimeZones())
        let loaded = reader.policy(root)
        guard schema.errors.isEmpty else { throw PolicyErrors(errors: schema.errors) }
        do throws(PolicyCompileError) {
            _ = try PolicyImage(compiling: loaded.definition, generation: 1)
        } catch {
            for fault in error.faults {
                let place = root.place(of: fault.path)
                schema.fail(place.line, place.column, fault.message)
            }
            throw PolicyErrors(errors: schema.errors)
        }
        return loaded
    }

    private static func read(_ path: String) throws(PolicyErrors) -> [UInt8] {
        func failure(_ message: String) -> PolicyErrors {
            PolicyErrors(errors: [PolicyError(file: path, line: 0, column: 0, message: message)])
        }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw failure(String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw failure("not a file")
        }
        guard status.st_size <= fileBytesMax else { throw failure("larger than 4 MiB") }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var filled = 0
        while filled < bytes.count {
            let got = bytes.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress.map { $0 + filled }, $0.count - filled)
            }
            guard got > 0 else { throw failure("cannot be read to its end") }
            filled += got
        }
        return bytes
    }
}
