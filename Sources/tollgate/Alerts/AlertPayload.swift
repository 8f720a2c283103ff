import COpenSSL
import TollgateCore
import TollgateWire

/// What sinks are given of an alert.
struct AlertPayload {
    let alert: AlertInfo
    /// Which Tollgate it is.
    let source: String

    /// The same each time the alert is delivered, and no other's: also not that of an alert of the
    /// same number, after the file of the alerts was begun anew.
    var id: String { "\(alert.id)-\(alert.at.milliseconds)" }

    /// CloudEvents 1.0, structured mode, JSON format.
    var event: [UInt8] {
        let object: JSONObject = [
            "specversion": .string("1.0"), "id": .string(id), "source": .string(source),
            "type": .string("tollgate.alert.\(alert.kind.rawValue)"),
            "time": .string(Times.shown(alert.at.milliseconds)),
            "subject": .string(alert.rule),
            "datacontenttype": .string("application/json"), "data": alert.json,
        ]
        return JSONValue.object(object).bytes
    }

    /// A message as Slack's incoming webhooks, and those that imitate them, take it: plain text, so
    /// that `*`, `_`, `~` and backticks of names are those.
    var slack: [UInt8] {
        var text = ""
        // Slack's own three; else a name could make a link, or call everybody.
        for character in visible(alert.text, onOneLine: true) {
            switch character {
            case "&": text += "&amp;"
            case "<": text += "&lt;"
            case ">": text += "&gt;"
            default: text.append(character)
            }
        }
        let mark =
            switch alert.severity {
            case .critical: "\u{1f6a8}"
            case .warning: "\u{26a0}\u{fe0f}"
            case .info: "\u{2139}\u{fe0f}"
            }
        let kind = alert.kind == .test ? "test" : alert.severity.rawValue
        let line = "\(mark) \(kind): \(text)\n\(alert.rule), alert \(alert.id) of \(source),"
            + " \(Times.shown(alert.at.milliseconds))"
        return JSONValue.object(["text": .string(line), "mrkdwn": .bool(false)]).bytes
    }

    /// One line, for people.
    var line: String {
        let kind = alert.kind == .test ? "test" : alert.severity.rawValue
        return "alert \(alert.id): \(alert.rule): \(kind): \(alert.text)"
    }
}

/// Signs requests as Standard Webhooks 1.0.0 has it: `webhook-signature` is "v1," and the base64 of
/// HMAC-SHA-256 over id, timestamp and body, with points between.
struct WebhookSignature {
    /// `nil` where there is no memory for it.
    static func header(
        _ secret: SecretBytes, id: String, timestamp: Int64, body: [UInt8]
    ) -> String? {
        let signed = Array("\(id).\(timestamp).".utf8) + body
        var mac = [UInt8](repeating: 0, count: 64)
        let handle = secret.withBytes {
            tg_hmac_key_new(0, $0.bindMemory(to: UInt8.self).baseAddress, $0.count)
        }
        guard let handle else { return nil }
        defer { tg_hmac_key_free(handle) }
        let count = tg_hmac(handle, signed, signed.count, &mac)
        return "v1," + base64(mac.prefix(count))
    }

    /// RFC 4648, section 4.
    static func base64(_ bytes: some Collection<UInt8>) -> String {
        var text = String(decoding: Base64URL.encode(bytes), as: UTF8.self)
        text = String(text.map { $0 == "-" ? "+" : $0 == "_" ? "/" : $0 })
        return text + String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
    }
}
