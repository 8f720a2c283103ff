import CLinux
import COpenSSL
import Glibc
import TollgateCore
import TollgateStorage

/// The secrets of signing keys: `<id>.key` in a folder of the daemon's own, mode 0600, 32 random
/// bytes as base64url on one line. A file stands whole and on the disk before its record is made,
/// and goes after its record says that the key is retired.
struct SigningKeyFiles {
    static let secretBytes = 32
    private static let fileBytesMax = 1_024

    let folder: String
    let steps: StepCounter

    /// Letters, digits, `-` and `_`, 64 at most: what is the same in every file system.
    static func isFit(_ id: String) -> Bool {
        (1...64).contains(id.utf8.count)
            && id.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20)
                    || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
            }
    }

    func path(_ id: String) -> String { "\(folder)/\(id).key" }

    /// Makes the folder when it is not there, and throws when it is not ours alone.
    func prepareFolder() throws(SigningKeyFault) {
        if mkdir(folder, 0o700) != 0, errno != EEXIST { throw fault(folder, errno) }
        var status = stat()
        guard lstat(folder, &status) == 0 else { throw fault(folder, errno) }
        guard status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(),
            status.st_mode & 0o022 == 0
        else {
            throw SigningKeyFault(
                "\(folder): must be a directory of the daemon's user that others cannot write;"
                    + " run: chown \(geteuid()) \(folder) && chmod 0700 \(folder)")
        }
    }

    /// A new secret, in its file and on the disk. A file of that name, left by a start that was cut
    /// short, is replaced: its record was never made.
    func make(_ id: String) throws(SigningKeyFault) -> SecretBytes {
        try prepareFolder()
        let secret = try randomSecret()
        let temporary = path(id) + ".part"
        unlink(temporary)
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW
        let descriptor = open(temporary, flags, 0o600)
        guard descriptor >= 0 else { throw fault(temporary, errno) }
        defer { close(descriptor) }
        do throws(SigningKeyFault) {
            try write(secret, to: descriptor, temporary)
            steps.reach(.keyWritten)
            guard fsync(descriptor) == 0 else { throw fault(temporary, errno) }
            steps.reach(.keySynced)
            guard rename(temporary, path(id)) == 0 else { throw fault(path(id), errno) }
        } catch {
            unlink(temporary)
            throw error
        }
        steps.reach(.keyRenamed)
        try syncFolder()
        steps.reach(.keyDurable)
        return secret
    }

    /// The same under a name of random letters.
    func makeNamed() throws(SigningKeyFault) -> (SigningKeyID, SecretBytes) {
        guard let name = Randomness.identifier() else {
            throw SigningKeyFault("no random bytes to be had")
        }
        return (SigningKeyID(unchecked: name), try make(name))
    }

    /// The secret that stands in the key's file.
    func read(_ id: String) throws(SigningKeyFault) -> SecretBytes {
        let descriptor = open(path(id), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else {
            guard errno == ENOENT else { throw fault(path(id), errno) }
            throw SigningKeyFault(
                isMissing: true,
                "\(path(id)): the file is missing; put it back from a backup. If it is lost, the"
                    + " tokens that it signed are too: make another with: (umask 077; openssl rand"
                    + " 32 | basenc --base64url -w0 | tr -d = > \(path(id)))")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
            status.st_size <= Self.fileBytesMax
        else { throw SigningKeyFault("\(path(id)): not a file of at most 1 KiB") }
        guard status.st_mode & 0o077 == 0 else {
            throw SigningKeyFault(
                "\(path(id)): others may read or write it; run: chmod go= \(path(id))")
        }
        var text = [UInt8](repeating: 0, count: Self.fileBytesMax)
        defer { Self.zero(&text) }
        let got = text.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
        guard got > 0 else { throw SigningKeyFault("\(path(id)): empty, or cannot be read") }
        return try secret(in: text[..<got], path(id))
    }

    /// Takes out the file of a key that is retired; whether there was one.
    @discardableResult
    func remove(_ id: String) -> Bool {
        let isRemoved = unlink(path(id)) == 0
        if isRemoved { steps.reach(.keyRemoved) }
        return isRemoved
    }

    private func secret(
        in text: ArraySlice<UInt8>, _ path: String
    ) throws(SigningKeyFault) -> SecretBytes {
        var line = text
        while let last = line.last, last == 0x0a || last == 0x0d { line.removeLast() }
        var bytes = [UInt8](repeating: 0, count: Self.fileBytesMax)
        defer { Self.zero(&bytes) }
        let count = line.withUnsafeBytes { from in
            bytes.withUnsafeMutableBytes { Base64URL.decode(from, into: $0) }
        }
        guard let count else {
            throw SigningKeyFault("\(path): not base64url without padding on one line")
        }
        let problem = bytes.withUnsafeBytes {
            SecretCheck.problem(
                with: UnsafeRawBufferPointer(rebasing: $0[..<count]), algorithm: .hs256)
        }
        if let problem { throw SigningKeyFault("\(path): \(problem)") }
        return SecretBytes(copying: bytes[..<count])
    }

    private func randomSecret() throws(SigningKeyFault) -> SecretBytes {
        var bytes = [UInt8](repeating: 0, count: Self.secretBytes)
        defer { Self.zero(&bytes) }
        let isRandom = bytes.withUnsafeMutableBytes { Randomness.fill($0) }
        guard isRandom else { throw SigningKeyFault("no random bytes to be had") }
        return SecretBytes(copying: bytes)
    }

    private func write(
        _ secret: SecretBytes, to descriptor: Int32, _ path: String
    ) throws(SigningKeyFault) {
        var text = secret.withBytes { Base64URL.encode($0) } + [0x0a]
        defer { Self.zero(&text) }
        let count = text.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        guard count == text.count else { throw fault(path, count < 0 ? errno : ENOSPC) }
    }

    private func syncFolder() throws(SigningKeyFault) {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw fault(folder, errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw fault(folder, errno) }
    }

    private func fault(_ path: String, _ number: Int32) -> SigningKeyFault {
        SigningKeyFault("\(path): \(errorText(number))")
    }

    private static func zero(_ bytes: inout [UInt8]) {
        bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { tg_zero(base, $0.count) } }
    }
}

/// Why a signing key's file is not there or not fit, and what to do.
struct SigningKeyFault: Error, Equatable {
    var message: String
    /// There is no file at all.
    var isMissing: Bool

    init(isMissing: Bool = false, _ message: String) {
        (self.isMissing, self.message) = (isMissing, message)
    }
}

/// Random bytes of the system's, for identifiers and secrets.
enum Randomness {
    static func fill(_ bytes: UnsafeMutableRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress else { return bytes.isEmpty }
        return tg_random(base.assumingMemoryBound(to: UInt8.self), bytes.count) == 1
    }

    /// 22 base64url characters: 128 bits. `nil` when there is no randomness.
    static func identifier() -> String? {
        var bytes = [UInt8](repeating: 0, count: 16)
        guard bytes.withUnsafeMutableBytes({ fill($0) }) else { return nil }
        return String(decoding: Base64URL.encode(bytes), as: UTF8.self)
    }
}
