/// Where accounts and credentials are kept: the `directory` part of a policy file. Nothing of it is
/// opened or looked at when the policy is read; the peppers' secrets are read apart
/// (`LoadedPolicy.peppers`).
package struct DirectorySettings: Sendable, Equatable {
    /// The key under which API keys and refresh tokens are hashed.
    package struct Pepper: Sendable, Equatable {
        package enum Source: Sendable, Equatable {
            /// A path as the policy gives it; a relative one begins beside the policy.
            case file(String)
            /// The name of a credential that the service manager hands over.
            case credential(String)
        }

        package var generation: UInt32
        package var source: Source
        /// Where the source stands in the policy file, for faults of the secret.
        var line: Int
        var column: Int

        /// Moved in the file, it is the same pepper.
        package static func == (a: Self, b: Self) -> Bool {
            a.generation == b.generation && a.source == b.source
        }
    }

    /// A directory of the daemon's own.
    package var path: String
    /// The directory of the signing keys' files; absolute.
    package var signingKeysPath: String
    /// By generation, the newest last; never empty.
    package var peppers: [Pepper]
    /// How long changes stay in the log, and refresh tokens once they were spent.
    package var logRetentionMilliseconds: UInt64 = 365 * 86_400_000
    package var spentRetentionMilliseconds: UInt64 = 30 * 86_400_000
    package var sessionsPerUserMax = 100

    private static let retentionRange: ClosedRange<UInt64> = 86_400_000...315_360_000_000
    /// With the longest name of ours behind it, it is a path that SQLite opens: 512 bytes at most.
    private static let pathBytesMax = 400
    private static let peppersMax = 64
    private static let nameBytesMax = 255

    init?(_ node: YAMLNode, _ reader: SchemaReader) {
        let values = reader.mapping(node, "directory", known: PolicySchema.directoryKeys)
        let path = reader.required(values, "path", node).flatMap { Self.path($0, reader) }
        let signing = values["signing_keys"].map { Self.folder($0, reader) } ?? "signing"
        let peppers = reader.required(values, "peppers", node).map { Self.peppers($0, reader) }
        func retention(_ key: String) -> UInt64? {
            reader.milliseconds(values[key], key, Self.retentionRange, "1d to 3650d")
        }
        logRetentionMilliseconds = retention("log_retention") ?? logRetentionMilliseconds
        spentRetentionMilliseconds = retention("spent_retention") ?? spentRetentionMilliseconds
        sessionsPerUserMax =
            reader.integer(values["sessions_per_user_max"], "sessions_per_user_max", 1...1_000)
            .map { Int($0) } ?? sessionsPerUserMax
        guard let path, let signing, let peppers else { return nil }
        self.path = path
        signingKeysPath = signing.hasPrefix("/") ? signing : path + "/" + signing
        self.peppers = peppers
    }

    /// A directory of the daemon's own.
    static func path(_ node: YAMLNode, _ reader: SchemaReader) -> String? {
        guard let text = reader.text(node, "path") else { return nil }
        guard text.hasPrefix("/"), isFolder(text) else {
            reader.fail(
                node,
                "path begins with / and names a directory, without \".\" or \"..\", in at most"
                    + " \(pathBytesMax) bytes")
            return nil
        }
        return text
    }

    private static func folder(_ node: YAMLNode, _ reader: SchemaReader) -> String? {
        guard let text = reader.text(node, "signing_keys") else { return nil }
        guard isFolder(text) else {
            reader.fail(
                node,
                "signing_keys names a directory, from / or from path, without \".\" or \"..\", in"
                    + " at most \(pathBytesMax) bytes")
            return nil
        }
        return text
    }

    private static func isFolder(_ text: String) -> Bool {
        let names = text.split(separator: "/")
        return text.utf8.count <= pathBytesMax && !names.isEmpty
            && names.allSatisfy { $0 != "." && $0 != ".." && $0.utf8.count <= nameBytesMax }
            && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f }
    }

    // MARK: peppers

    private static func peppers(_ node: YAMLNode, _ reader: SchemaReader) -> [Pepper] {
        let nodes = reader.filledList(node, "peppers", "a directory has at least one")
        if nodes.count > peppersMax {
            reader.fail(node, "peppers are at most \(peppersMax)")
        }
        var peppers: [Pepper] = []
        for node in nodes.prefix(peppersMax) {
            guard let pepper = pepper(node, peppers, reader) else { continue }
            peppers.append(pepper)
        }
        return peppers.sorted { $0.generation < $1.generation }
    }

    private static func pepper(
        _ node: YAMLNode, _ others: [Pepper], _ reader: SchemaReader
    ) -> Pepper? {
        for (key, _) in reader.entries(node, "a pepper")
        where ["secret", "pepper", "key", "value"].contains(key.text) {
            reader.fail(key, "\(key.shown): peppers stand in files, not in policies; use file")
        }
        let values = reader.mapping(node, "a pepper", known: PolicySchema.pepperKeys)
        let generation = reader.required(values, "generation", node).flatMap {
            reader.integer($0, "generation", 1...UInt64(UInt32.max))
        }
        if let generation, others.contains(where: { $0.generation == generation }) {
            reader.fail(values["generation"] ?? node, "two peppers have generation \(generation)")
        }
        guard let (source, place) = source(values, node, reader), let generation else { return nil }
        if let other = others.first(where: { $0.source == source }) {
            reader.fail(
                place, "the pepper of generation \(other.generation) is that already: a new"
                    + " generation is a new secret")
        }
        return Pepper(
            generation: UInt32(generation), source: source, line: place.line, column: place.column)
    }

    private static func source(
        _ values: [String: YAMLNode], _ node: YAMLNode, _ reader: SchemaReader
    ) -> (Pepper.Source, YAMLNode)? {
        switch (values["file"], values["credential"]) {
        case (let file?, nil): return reader.text(file, "file").map { (.file($0), file) }
        case (nil, let credential?):
            guard let name = reader.text(credential, "credential") else { return nil }
            guard isFolder(name), !name.contains("/"), name.utf8.count <= nameBytesMax else {
                reader.fail(
                    credential, "credential is a name of the service manager's, not a path")
                return nil
            }
            return (.credential(name), credential)
        case (_?, let credential?):
            reader.fail(credential, "a pepper has file or credential, not both")
        case (nil, nil): reader.fail(node, "a pepper has file or credential")
        }
        return nil
    }
}
