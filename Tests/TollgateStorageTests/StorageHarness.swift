import Foundation
import TestSupport
import Testing
import TollgateCore

@testable import TollgateStorage

typealias SeededRandom = TestSupport.SeededRandom
let testScale = TestSupport.testScale

extension SeededRandom {
    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
    }

    /// A source for what asks for one.
    mutating func source() -> RandomSource {
        var own = SeededRandom(seed: next())
        return { bytes in
            for index in bytes.indices { bytes[index] = UInt8.random(in: 0...255, using: &own) }
            return true
        }
    }
}

/// All bytes of a file. Foundation's own way leaks what it reads into, which the leak sanitizer
/// reports.
func fileBytes(_ path: String) throws -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    try #require(descriptor >= 0, "\(path)")
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
        let got = read(descriptor, &chunk, chunk.count)
        try #require(got >= 0, "\(path)")
        if got == 0 { return bytes }
        bytes += chunk[..<got]
    }
}

/// A folder of its own, gone at the end.
final class TestFolder {
    let path: String

    init() {
        path = NSTemporaryDirectory() + "tollgate-storage-" + UUID().uuidString
        mkdir(path, 0o700)
    }

    deinit {
        // Left to the system's cleaning when it fails.
        try? FileManager.default.removeItem(atPath: path)
    }

    var file: String { path + "/" + DirectoryPlace.fileName }

    /// What a process that is killed now leaves behind: the files as the kernel has them.
    func copied() throws -> TestFolder {
        let copy = TestFolder()
        for name in try FileManager.default.contentsOfDirectory(atPath: path) {
            let bytes = try fileBytes(path + "/" + name)
            let made = open(copy.path + "/" + name, O_WRONLY | O_CREAT, 0o600)
            #expect(bytes.withUnsafeBytes { write(made, $0.baseAddress, $0.count) } == bytes.count)
            close(made)
        }
        return copy
    }

    func store() throws -> DirectoryStore { try DirectoryStore(folder: path) }
}

enum Sample {
    static let pepperBytes = Array("pepper-canary-0123456789-abcdefg".utf8)

    static func pepper(generation: UInt32 = 3) throws -> APIKeyPepper {
        try APIKeyPepper(SecretBytes(copying: pepperBytes), generation: generation)
    }

    static func time(_ milliseconds: Int64) -> WallTime {
        WallTime(milliseconds: 1_800_000_000_000 + milliseconds)
    }

    static func change(_ milliseconds: Int64 = 0) -> Change {
        Change(uid: 1_000, pid: 42, at: time(milliseconds))
    }

    static func organization(_ text: String = "acme") throws -> OrganizationID {
        try OrganizationID(text)
    }

    static func key(_ random: inout SeededRandom, pepper: APIKeyPepper) throws -> (
        id: APIKeyID, text: [UInt8], digest: KeptDigest
    ) {
        let made = try APIKey.make(environment: "live", random: random.source())
        let text = made.text.withBytes(Array.init)
        let digest = try #require(text.withUnsafeBytes { APIKey($0).map { pepper.digest(of: $0) } })
        return (made.id, text, KeptDigest(digest: digest, pepper: pepper.generation))
    }

    static func session(_ random: inout SeededRandom) throws -> SessionID {
        try SessionID(String(decoding: Base64URL.encode(random.bytes(16)), as: UTF8.self))
    }
}

/// What an error was, without its paths.
func refusal(_ body: () throws -> Void) -> DirectoryError? {
    do {
        try body()
        return nil
    } catch let error as DirectoryError {
        return error
    } catch {
        Issue.record("not an error of the directory: \(error)")
        return nil
    }
}

func fault(_ body: () throws -> Void) -> StorageFault? {
    do {
        try body()
        return nil
    } catch let fault as StorageFault {
        return fault
    } catch DirectoryError.storage(let fault) {
        return fault
    } catch {
        Issue.record("not a failure of storage: \(error)")
        return nil
    }
}
