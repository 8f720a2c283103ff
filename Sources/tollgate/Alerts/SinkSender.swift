import CLinux
import COpenSSL
import TollgateCore
import TollgatePolicy
import TollgateWire

/// A sink with what it needs read from its files.
struct SinkSender {
    private let sink: AlertSink
    private let source: String
    private let isJSON: Bool
    private let url: String
    private let secret: SecretBytes?

    var name: String { sink.name }

    /// Throws what is wrong with its files; names them, and nothing that is in them.
    init(_ sink: AlertSink, _ source: String, isJSON: Bool) throws {
        self.sink = sink
        self.source = source
        self.isJSON = isJSON
        guard case .webhook(let hook) = sink.way else {
            url = ""
            secret = nil
            return
        }
        do throws(KeyFileFault) {
            let files = try AlertSinkFiles(hook)
            url = files.url
            secret = files.secret
        } catch { throw Failure(.configuration, "sink \(sink.name): \(error.message)") }
    }

    /// A test goes everywhere.
    func wants(_ alert: AlertInfo) -> Bool {
        let order = AlertInfo.Severity.allCases
        guard alert.kind != .test, let least = AlertInfo.Severity(rawValue: sink.severityMin.word),
            let bound = order.firstIndex(of: least),
            let place = order.firstIndex(of: alert.severity)
        else { return true }
        return place >= bound
    }

    /// `nil` when it arrived.
    func send(_ alert: AlertInfo) -> (AlertDelivery.Failure, String)? {
        let payload = AlertPayload(alert: alert, source: source)
        switch sink.way {
        case .log:
            let line =
                isJSON
                ? String(decoding: payload.event, as: UTF8.self)
                : visible(payload.line, onOneLine: true)
            do { try Console.print(line) } catch {
                return (.sink(retryAfter: nil), "standard output takes nothing")
            }
            return nil
        case .command(let words): return Self.run(words, payload, sink.timeoutMilliseconds)
        case .webhook(let hook):
            return post(payload, hook.isSlack ? payload.slack : payload.event, hook)
        }
    }

    private static func run(
        _ words: [String], _ payload: AlertPayload, _ milliseconds: UInt64
    ) -> (AlertDelivery.Failure, String)? {
        let outcome = ChildProcess.run(words, input: payload.event, milliseconds: milliseconds)
        switch outcome {
        case .ended(0, _): return nil
        case .ended(let code, _): return (.alert, "its command ended with exit code \(code)")
        case .killed(let signal): return (.alert, "its command was ended by signal \(signal)")
        case .timedOut:
            return (.alert, "its command took longer than \(span(milliseconds)), and was ended")
        case .notStarted(let error):
            return (.sink(retryAfter: nil), "its command cannot be started: \(systemText(error))")
        }
    }

    private func post(
        _ payload: AlertPayload, _ body: [UInt8], _ hook: AlertSink.Webhook
    ) -> (AlertDelivery.Failure, String)? {
        let timestamp = tg_walltime() / 1_000
        var headers = [
            (
                "Content-Type",
                hook.isSlack ? "application/json" : "application/cloudevents+json; charset=utf-8"
            ),
            ("User-Agent", "tollgate"), ("webhook-id", payload.id),
            ("webhook-timestamp", "\(timestamp)"),
        ]
        if let secret {
            let signature = WebhookSignature.header(
                secret, id: payload.id, timestamp: timestamp, body: body)
            guard let signature else { return (.sink(retryAfter: nil), "it cannot be signed") }
            headers.append(("webhook-signature", signature))
        }
        let request = CurlRequest(
            url: url, headers: headers.map { (name: $0.0, value: $0.1) }, body: body,
            milliseconds: sink.timeoutMilliseconds)
        switch request.send() {
        case .failed(let words): return (.sink(retryAfter: nil), words)
        case .answered(200..<300, _): return nil
        case .answered(let status, let seconds):
            let words = "the receiver answers with status \(status)"
            let retryAfter = seconds.map { $0.multipliedReportingOverflow(by: 1_000) }
            let milliseconds = retryAfter.map { $0.overflow ? UInt64.max : $0.partialValue }
            let isBusy = status == 429 || status == 408 || status >= 500
            if isBusy || milliseconds != nil { return (.sink(retryAfter: milliseconds), words) }
            return (.alert, words)
        }
    }
}
