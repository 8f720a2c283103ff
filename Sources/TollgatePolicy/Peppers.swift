import TollgateCore

extension LoadedPolicy {
    /// The peppers of the directory with their secrets, the newest generation last; none without a
    /// directory. Apart from loading, so that who reads a policy need not be able to read these.
    /// `credentials` is the value of `CREDENTIALS_DIRECTORY`. Throws all that is wrong, each with
    /// its place.
    package func peppers(
        credentials: String?, readKey: @escaping KeyReader = KeyFiles.read
    ) throws(PolicyErrors) -> [APIKeyPepper] {
        let schema = SchemaReader(file: file)
        let keyFiles = KeyFiles(directory: KeyFiles.directory(of: file), read: readKey)
        var taken = definition.issuers.flatMap(\.keys).map { ($0.secret, "a signing key") }
        var peppers: [APIKeyPepper] = []
        for pepper in directory?.peppers ?? [] {
            do throws(KeyFileFault) {
                let secret = try keyFiles.pepper(pepper.source, credentials: credentials)
                if let (_, owner) = taken.first(where: { Self.areEqual($0.0, secret) }) {
                    throw KeyFileFault(
                        message: "the pepper of generation \(pepper.generation) is the secret of"
                            + " \(owner) too; make a random one")
                }
                taken.append((secret, "generation \(pepper.generation)"))
                peppers.append(try Self.pepper(secret, pepper.generation))
            } catch { schema.fail(pepper.line, pepper.column, error.message) }
        }
        guard schema.errors.isEmpty else { throw PolicyErrors(errors: schema.errors) }
        return peppers
    }

    /// Reads the peppers only to see that they can be used, away from the service manager as well:
    /// returns the credentials that were not looked at because `credentials` is `nil`.
    package func checkPeppers(credentials: String?) throws(PolicyErrors) -> [String] {
        var seen = self
        var unseen: [String] = []
        seen.directory?.peppers.removeAll { pepper in
            guard credentials == nil, case .credential(let name) = pepper.source else {
                return false
            }
            unseen.append(name)
            return true
        }
        _ = try seen.peppers(credentials: credentials)
        return unseen
    }

    private static func pepper(
        _ secret: SecretBytes, _ generation: UInt32
    ) throws(KeyFileFault) -> APIKeyPepper {
        do throws(APIKeyError) { return try APIKeyPepper(secret, generation: generation) } catch {
            throw KeyFileFault(
                message: "the pepper of generation \(generation) cannot be used: \(error)")
        }
    }

    /// Both are ours, so nobody learns from how long it takes.
    private static func areEqual(_ a: SecretBytes, _ b: SecretBytes) -> Bool {
        a.withBytes { x in b.withBytes { y in x.elementsEqual(y) } }
    }
}

extension KeyFiles {
    /// A secret of at least 32 bytes: base64url on one line, or the bytes themselves.
    func pepper(
        _ source: DirectorySettings.Pepper.Source, credentials: String?
    ) throws(KeyFileFault) -> SecretBytes {
        switch source {
        case .file(let path):
            var bytes = try bytes(of: path)
            defer { Self.zero(&bytes) }
            return try Self.pepper(bytes, "key file \(path)")
        case .credential(let name):
            guard let credentials else {
                throw KeyFileFault(
                    message: "credential \(name): CREDENTIALS_DIRECTORY is not set; the service"
                        + " manager hands it over: LoadCredential=\(name):FILE")
            }
            let shown = "$CREDENTIALS_DIRECTORY/" + name
            var bytes: [UInt8]
            do throws(KeyFileFault) {
                bytes = try read(shown, credentials + "/" + name)
            } catch {
                throw KeyFileFault(
                    message: error.message + "; it is handed over with"
                        + " LoadCredential=\(name):FILE")
            }
            defer { Self.zero(&bytes) }
            return try Self.pepper(bytes, "credential \(name)")
        }
    }

    /// Random bytes are not printable throughout: 32 of them once in 10^13 files, and those are
    /// refused. So what is text is base64url, or a mistake.
    private static func pepper(
        _ bytes: [UInt8], _ shown: String
    ) throws(KeyFileFault) -> SecretBytes {
        let isText = bytes.allSatisfy { (0x20..<0x7f).contains($0) || (0x09...0x0d).contains($0) }
        let secret = isText ? try decoded(ArraySlice(bytes), shown) : SecretBytes(copying: bytes)
        guard secret.count >= APIKeyPepper.bytesMin else {
            throw KeyFileFault(
                message: "\(shown): the pepper has \(secret.count) bytes, and needs"
                    + " \(APIKeyPepper.bytesMin)")
        }
        if let problem = secret.withBytes({ SecretCheck.problem(with: $0, algorithm: .hs256) }) {
            throw KeyFileFault(message: "\(shown): \(problem)")
        }
        return secret
    }
}
