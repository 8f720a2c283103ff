import TollgateCore

/// Where alerts are delivered to beside the daemon's log: `alerts.sinks` of a policy file.
package struct AlertSink: Sendable, Equatable {
    package enum Way: Sendable, Equatable {
        /// A line on standard output of who delivers.
        case log
        /// A program and its arguments.
        case command([String])
        case webhook(Webhook)
    }

    /// Paths are as the policy has them, or from the policy file's directory.
    package struct Webhook: Sendable, Equatable {
        /// `nil`: it stands in `urlFile`.
        package var url: String?
        package var urlFile: String?
        /// By it requests are signed; `nil`: they are not.
        package var secretFile: String?
        /// Slack's form, in place of a CloudEvent.
        package var isSlack = false
    }

    package static let sinksMax = 8
    package static let nameBytesMax = 32

    package var name: String
    package var way: Way
    package var timeoutMilliseconds: UInt64 = 10_000
    /// Less severe ones do not go there; tests do.
    package var severityMin = AlertSeverity.info
}

/// How alerts are delivered.
package struct AlertSinks: Sendable, Equatable {
    package var sinks: [AlertSink] = []
    /// Alerts that may wait.
    package var spoolMax: UInt64 = 10_000
    /// How long a sink that fails rests at first, and at most.
    package var firstMilliseconds: UInt64 = 1_000
    package var longestMilliseconds: UInt64 = 300_000
    /// The `source` of events: which Tollgate it is.
    package var source = "tollgate"

    package init() {}

    /// Where alerts wait: beside the state of the alerts.
    package static func spool(_ alerts: String) -> String { alerts + "/spool" }
}

/// Reads the part of `alerts` about delivery.
struct AlertSinkReader {
    let reader: SchemaReader
    /// Of the policy file: where relative paths begin.
    let directory: String

    func read(_ values: [String: YAMLNode]) -> AlertSinks {
        var all = AlertSinks()
        all.spoolMax =
            reader.integer(values["spool_max"], "spool_max", 10...1_000_000) ?? all.spoolMax
        if let node = values["source"], let text = reader.text(node, "source") {
            if text.utf8.count > 128 || !Self.isPlain(text) {
                reader.fail(node, "source is 1 to 128 printable ASCII characters without spaces")
            }
            all.source = text
        }
        if let node = values["retry"] {
            let retry = reader.mapping(node, "retry", known: ["first", "longest"])
            let range: ClosedRange<UInt64> = 10...3_600_000
            all.firstMilliseconds =
                reader.milliseconds(retry["first"], "first", range, "10ms to 1h")
                ?? all.firstMilliseconds
            all.longestMilliseconds =
                reader.milliseconds(retry["longest"], "longest", range, "10ms to 1h")
                ?? max(all.longestMilliseconds, all.firstMilliseconds)
            if all.longestMilliseconds < all.firstMilliseconds {
                reader.fail(node, "longest is not less than first")
            }
        }
        guard let node = values["sinks"] else { return all }
        for (key, node) in reader.entries(node, "sinks") {
            guard let name = reader.text(key, "a sink's name") else { continue }
            guard name.utf8.count <= AlertSink.nameBytesMax,
                name.utf8.allSatisfy({ byte in
                    (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x5f
                })
            else {
                reader.fail(key, "a sink's name is 1 to 32 small letters, digits and _")
                continue
            }
            if let sink = sink(name, node) { all.sinks.append(sink) }
        }
        if all.sinks.count > AlertSink.sinksMax {
            reader.fail(node, "at most \(AlertSink.sinksMax) sinks")
        }
        return all
    }

    private static let common = ["kind", "timeout", "severity_min"]

    private func sink(_ name: String, _ node: YAMLNode) -> AlertSink? {
        let values = reader.mapping(node, "sink \(name)", known: PolicySchema.sinkKeys)
        let kinds = ["log", "command", "webhook", "slack"].map { ($0, $0) }
        guard let said = reader.required(values, "kind", node),
            let kind = reader.choice(said, "kind", kinds)
        else { return nil }
        let own: [String] =
            switch kind {
            case "command": ["command"]
            case "webhook": ["url", "url_file", "secret_file"]
            case "slack": ["url_file"]
            default: []
            }
        for (key, _) in reader.entries(node, "sink \(name)") {
            guard let word = key.text, PolicySchema.sinkKeys.contains(word),
                !(Self.common + own).contains(word)
            else { continue }
            reader.fail(
                key, "a sink of kind \(kind) has no \(word)"
                    + "; it has: \((Self.common + own).joined(separator: ", "))")
        }
        guard let way = way(kind, values, node) else { return nil }
        var sink = AlertSink(name: name, way: way)
        sink.timeoutMilliseconds =
            reader.milliseconds(values["timeout"], "timeout", 100...60_000, "100ms to 60s")
            ?? sink.timeoutMilliseconds
        sink.severityMin =
            reader.choice(
                values["severity_min"], "severity_min",
                AlertSeverity.allCases.map { ($0.word, $0) }) ?? sink.severityMin
        return sink
    }

    private func way(
        _ kind: String, _ values: [String: YAMLNode], _ node: YAMLNode
    ) -> AlertSink.Way? {
        switch kind {
        case "log": return .log
        case "command":
            guard let list = reader.required(values, "command", node) else { return nil }
            let words = reader.texts(
                reader.filledList(list, "command", "the program, then its arguments"), "command")
            guard let program = words.first, program.hasPrefix("/") else {
                reader.fail(list, "command begins with the whole path of a program, from /")
                return nil
            }
            return .command(words)
        default:
            var hook = AlertSink.Webhook()
            hook.isSlack = kind == "slack"
            hook.urlFile = path(values["url_file"], "url_file")
            hook.secretFile = path(values["secret_file"], "secret_file")
            if let node = values["url"] { hook.url = url(node) }
            guard (values["url"] == nil) != (values["url_file"] == nil) else {
                reader.fail(
                    node, hook.isSlack
                        ? "url_file is missing: who knows the URL can post, so it stands in a file"
                        : "give url, or url_file where the URL is a secret: one of the two")
                return nil
            }
            return .webhook(hook)
        }
    }

    private func path(_ node: YAMLNode?, _ what: String) -> String? {
        guard let node, let text = reader.text(node, what) else { return nil }
        guard text.utf8.count <= 1_024, !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f })
        else {
            reader.fail(node, "\(what) names a file")
            return nil
        }
        return text.hasPrefix("/") ? text : directory + "/" + text
    }

    private func url(_ node: YAMLNode) -> String? {
        guard let text = reader.text(node, "url") else { return nil }
        guard Self.isURL(text) else {
            reader.fail(
                node, "url begins with https:// or http://, and is at most 2,048 printable ASCII"
                    + " characters without spaces, and without a name or password")
            return nil
        }
        return text
    }

    private static func isPlain(_ text: String) -> Bool {
        text.utf8.allSatisfy { (0x21...0x7e).contains($0) }
    }

    static func isURL(_ text: String) -> Bool {
        guard text.utf8.count <= 2_048, isPlain(text),
            let scheme = ["https://", "http://"].first(where: { text.hasPrefix($0) })
        else { return false }
        let host = text.dropFirst(scheme.utf8.count).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        return !host.isEmpty && !host.contains("@")
    }
}

extension AlertSinks {
    /// Whether a text may be a webhook's URL.
    package static func isURL(_ text: String) -> Bool { AlertSinkReader.isURL(text) }
}

extension PolicySchema {
    static let sinkKeys = [
        "kind", "timeout", "severity_min", "url", "url_file", "secret_file", "command",
    ]
}

/// What who delivers alerts reads of a policy file: nothing else of it, and no key of tokens.
package struct AlertDeliverySettings: Sendable {
    /// The alerts' directory.
    package var path: String
    package var sinks: AlertSinks

    /// `nil` when the policy has no alerts.
    package static func load(path file: String) throws(PolicyErrors) -> AlertDeliverySettings? {
        let schema = SchemaReader(file: file)
        let root = try YAMLReader.read(try PolicyLoader.read(file), schema: schema)
        let node = schema.entries(root, "the policy").first { $0.key.text == "alerts" }?.value
        var settings: AlertDeliverySettings?
        if let node {
            let values = schema.mapping(node, "alerts", known: PolicySchema.alertKeys)
            let path = schema.required(values, "path", node).flatMap {
                DirectorySettings.path($0, schema)
            }
            let sinks = AlertSinkReader(reader: schema, directory: KeyFiles.directory(of: file))
            settings = AlertDeliverySettings(path: path ?? "", sinks: sinks.read(values))
        }
        guard schema.errors.isEmpty else { throw PolicyErrors(errors: schema.errors) }
        return settings
    }
}
