import Glibc
import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// The peppers' secrets, which are read apart from the policy.
@Suite struct PepperTests {
    private static let good = "mB5Q0zZ7oS3kXcW1vJ8rT4yU6iN2pL9aEdFgHhKjMnY"

    /// A folder with a policy of those peppers.
    private struct Place {
        let directory: PolicyDirectory
        let loaded: LoadedPolicy

        init(_ peppers: String, more: String = "") throws {
            directory = try PolicyDirectory()
            let text = "directory: {path: /d, peppers: [\(peppers)]}\n\(more)"
            loaded = try directory.load(Array(smallPolicy(text).utf8))
        }

        func write(_ bytes: [UInt8], mode: mode_t = 0o600) {
            directory.write("keys/other", bytes, mode: mode)
        }

        /// What is wrong, without the folder's name; that nothing of the secret is said.
        func faults(
            credentials: String? = nil, _ secret: String = good
        ) -> [String] {
            do throws(PolicyErrors) {
                _ = try loaded.peppers(credentials: credentials)
                return []
            } catch {
                #expect(!error.description.contains(secret.prefix(6)))
                return error.errors.map {
                    String($0.description.dropFirst(directory.path.utf8.count + 1))
                }
            }
        }
    }

    private static let file = "{generation: 3, file: keys/other}"

    /// What the newest pepper makes of some bytes: alike for the same secret alone.
    private func digest(_ loaded: LoadedPolicy, credentials: String? = nil) throws -> APIKeyDigest {
        let peppers = try loaded.peppers(credentials: credentials)
        return Array("bytes".utf8).withUnsafeBytes { bytes in
            peppers[peppers.count - 1].digest(bytes)
        }
    }

    private func secret() throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 43)
        let count = Array(Self.good.utf8).withUnsafeBytes { text in
            bytes.withUnsafeMutableBytes { Base64URL.decode(text, into: $0) }
        }
        return Array(bytes[..<(try #require(count))])
    }

    @Test func aPepperIsBase64urlOnALineOrTheBytesThemselves() throws {
        let place = try Place(Self.file)
        place.write(Array(Self.good.utf8))
        let expected = try digest(place.loaded)
        for ending in ["\n", "\r\n"] {
            place.write(Array((Self.good + ending).utf8))
            #expect(try digest(place.loaded) == expected)
        }
        place.write(try secret())
        #expect(try digest(place.loaded) == expected)
        #expect(try place.loaded.peppers(credentials: nil).map(\.generation) == [3])
        // Bytes are taken to the last, also one that would end a line.
        place.write(try secret() + [0x0a])
        #expect(try digest(place.loaded) != expected)
    }

    @Test func aPepperOfTheServiceManagerIsReadFromItsFolder() throws {
        let place = try Place("{generation: 3, credential: other}")
        place.write(Array(Self.good.utf8), mode: 0o440)
        let folder = place.directory.path + "/keys"
        let inFile = try Place(Self.file)
        inFile.write(Array(Self.good.utf8))
        #expect(try digest(place.loaded, credentials: folder) == digest(inFile.loaded))
        #expect(
            place.faults() == [
                "p.yaml:7:61: credential other: CREDENTIALS_DIRECTORY is not set; the service"
                    + " manager hands it over: LoadCredential=other:FILE"
            ])
        #expect(
            place.faults(credentials: "/nowhere") == [
                "p.yaml:7:61: key file $CREDENTIALS_DIRECTORY/other: No such file or directory;"
                    + " make one with: openssl rand 32 | basenc --base64url -w0 | tr -d = > FILE;"
                    + " it is handed over with LoadCredential=other:FILE"
            ])
        place.write([1, 2, 3])
        #expect(
            place.faults(credentials: folder) == [
                "p.yaml:7:61: credential other: the pepper has 3 bytes, and needs 32"
            ])
    }

    @Test func theNewestPepperComesLast() throws {
        let place = try Place(
            "{generation: 9, file: keys/other}, {generation: 2, file: keys/third}")
        place.write(Array(Self.good.utf8))
        place.directory.write("keys/third", try secret().reversed(), mode: 0o600)
        #expect(try place.loaded.peppers(credentials: nil).map(\.generation) == [2, 9])
        let alone = try Place(Self.file)
        alone.write(Array(Self.good.utf8))
        #expect(try digest(place.loaded) == digest(alone.loaded))
    }

    @Test func aSecretThatIsNoneIsRefusedWithItsPlace() throws {
        let place = try Place(Self.file)
        let text = "not base64url without padding on one line"
        let secret = try secret()
        for (bytes, message) in [
            ([], "the pepper has 0 bytes, and needs 32"),
            (Array("\n".utf8), "the pepper has 0 bytes, and needs 32"),
            (Array(Self.good.utf8.dropLast(7)), "the pepper has 27 bytes, and needs 32"),
            (Array(secret.dropLast()), "the pepper has 31 bytes, and needs 32"),
            (Array((Self.good + "=").utf8), text), (Array((" " + Self.good).utf8), text),
            (Array((Self.good + "\n" + Self.good).utf8), text),
            (Array("a pass phrase that somebody has chosen, and is long".utf8), text),
            (
                [UInt8](repeating: 0xaa, count: 40),
                "the secret repeats 1 byte; make a random one"
            ),
            ((0..<40).map { $0 }, "the secret only counts; make a random one"),
        ] as [([UInt8], String)] {
            place.write(bytes)
            #expect(place.faults() == ["p.yaml:7:55: key file keys/other: " + message])
        }
        place.write(Array(Self.good.utf8), mode: 0o644)
        #expect(
            place.faults() == [
                "p.yaml:7:55: key file keys/other: others may read or write it; run: chmod g-w,o="
                    + " keys/other"
            ])
        let big = [UInt8](repeating: 0x41, count: 16_385)
        place.write(big)
        #expect(
            place.faults() == ["p.yaml:7:55: key file keys/other: not a file of at most 16 KiB"])
        let none = try Place("{generation: 3, file: keys/none}")
        #expect(none.faults().first?.hasPrefix("p.yaml:7:55: key file keys/none: No such") == true)
    }

    @Test func aPepperWrittenIntoThePolicyIsNotShown() throws {
        let place = try Place("{generation: 3, file: \(Self.good)}")
        #expect(
            place.faults() == [
                "p.yaml:7:55: file is a path, and this (not shown) looks like a key: put it into a"
                    + " file that others may not read, and name that"
            ])
    }

    /// A new generation of the same secret, or a signing key, would protect nothing.
    @Test func aSecretThatIsInUseElsewhereIsRefused() throws {
        let place = try Place(
            "{generation: 1, file: keys/other}, {generation: 2, file: keys/third}",
            more: "issuers: {i: {issuer: x, keys: [{algorithm: HS256, file: keys/main.key}]}}")
        place.write(try secret())
        place.directory.write("keys/third", Self.good + "\n")
        #expect(
            place.faults() == [
                "p.yaml:7:90: the pepper of generation 2 is the secret of generation 1 too; make a"
                    + " random one"
            ])
        place.directory.write("keys/third", "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeAE")
        #expect(
            place.faults("q83vEjRW") == [
                "p.yaml:7:90: the pepper of generation 2 is the secret of a signing key too; make a"
                    + " random one"
            ])
    }

    @Test func everyPepperAtFaultIsNamedAtOnce() throws {
        let place = try Place(
            "{generation: 2, file: keys/third}, {generation: 1, file: keys/none},"
                + " {generation: 3, credential: c}")
        place.directory.write("keys/third", "short")
        let places = place.faults().map { String($0.prefix(12)) }
        #expect(places == ["p.yaml:7:55:", "p.yaml:7:90:", "p.yaml:7:130"])
    }

    /// So that a policy can be checked where only the daemon has the credentials.
    @Test func aCheckLooksAtWhatCanBeSeenAndSaysWhatCannot() throws {
        let place = try Place("{generation: 1, file: keys/other}, {generation: 2, credential: c}")
        place.write(Array(Self.good.utf8))
        #expect(try place.loaded.checkPeppers(credentials: nil) == ["c"])
        #expect(throws: PolicyErrors.self) {
            try place.loaded.checkPeppers(credentials: "/nowhere")
        }
        place.write([1])
        #expect(throws: PolicyErrors.self) { try place.loaded.checkPeppers(credentials: nil) }
    }
}
