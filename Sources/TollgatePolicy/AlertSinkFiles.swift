import COpenSSL
import TollgateCore

/// What a webhook's files hold.
package struct AlertSinkFiles: Sendable {
    package let url: String
    /// `nil`: requests are not signed.
    package let secret: SecretBytes?

    /// Throws what is wrong with a file, and what to do about it; names it, and nothing that is in
    /// it.
    package init(_ hook: AlertSink.Webhook) throws(KeyFileFault) {
        var url = hook.url ?? ""
        if let file = hook.urlFile { url = try Self.url(in: file) }
        self.url = url
        if let file = hook.secretFile {
            secret = try Self.secret(in: file)
        } else {
            secret = nil
        }
    }

    private static func url(in file: String) throws(KeyFileFault) -> String {
        let bytes = try KeyFiles.contents(
            file, missing: "write the webhook's URL into it, on one line, and: chmod 600 \(file)")
        var url = String(decoding: bytes, as: UTF8.self)
        while url.last?.isNewline == true { url.removeLast() }
        guard AlertSinks.isURL(url) else {
            throw KeyFileFault(
                message: "\(file) is no URL on one line: it begins with https://, and has no"
                    + " spaces in it")
        }
        return url
    }

    private static let make = "make one with: openssl rand 32 | base64 -w0 > FILE"

    private static func secret(in file: String) throws(KeyFileFault) -> SecretBytes {
        var bytes = try KeyFiles.contents(file, missing: make)
        defer { KeyFiles.zero(&bytes) }
        guard let secret = secret(of: bytes) else {
            throw KeyFileFault(
                message: "\(file) is not base64 of 24 to 64 bytes on one line; \(make)")
        }
        return secret
    }

    /// As its file has it: base64 of 24 to 64 bytes on one line, perhaps behind `whsec_`; `nil`
    /// when it is none.
    private static func secret(of text: [UInt8]) -> SecretBytes? {
        var line = ArraySlice(text)
        while let last = line.last, last == 0x0a || last == 0x0d { line.removeLast() }
        let prefix = Array("whsec_".utf8)
        if line.starts(with: prefix) { line = line.dropFirst(prefix.count) }
        while line.last == UInt8(ascii: "=") { line.removeLast() }
        var encoded = line.map { byte -> UInt8 in
            switch byte {
            case UInt8(ascii: "+"): UInt8(ascii: "-")
            case UInt8(ascii: "/"): UInt8(ascii: "_")
            default: byte
            }
        }
        var secret = [UInt8](repeating: 0, count: encoded.count)
        let bytes = encoded.count
        defer {
            tg_zero(&encoded, bytes)
            tg_zero(&secret, bytes)
        }
        let count = encoded.withUnsafeBytes { source in
            secret.withUnsafeMutableBytes { Base64URL.decode(source, into: $0) }
        }
        guard let count, (24...64).contains(count) else { return nil }
        return SecretBytes(copying: secret.prefix(count))
    }
}

extension AlertSinks {
    /// Whether who delivers could read all files; throws the first fault, with its sink's name.
    package func checkFiles() throws(KeyFileFault) {
        for sink in sinks {
            guard case .webhook(let hook) = sink.way else { continue }
            do throws(KeyFileFault) { _ = try AlertSinkFiles(hook) } catch {
                throw KeyFileFault(message: "sink \(sink.name): \(error.message)")
            }
        }
    }
}

extension LoadedPolicy {
    /// Whether who delivers alerts could read the files that their sinks name.
    package func checkSinkFiles() throws(PolicyErrors) {
        do throws(KeyFileFault) { try alerts?.sinks.checkFiles() } catch {
            let fault = PolicyError(
                file: file, line: 0, column: 0, message: "alerts: \(error.message)")
            throw PolicyErrors(errors: [fault])
        }
    }
}
