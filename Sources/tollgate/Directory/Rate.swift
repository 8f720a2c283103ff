import ArgumentParser
import TollgateWire

/// A key's own rate limit as it stands on the command line: `100/s`, `6000/m`.
enum Rate {
    private static let windows: [(name: String, seconds: Int64)] = [
        ("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400),
    ]

    static func parsed(_ text: String) throws(ValidationError) -> JSONObject {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let limit = Int64(parts[0]), limit > 0,
            let window = windows.first(where: { $0.name == parts[1] })
        else {
            throw ValidationError(
                "a rate is requests per s, m, h or d (100/s, 6000/m), not \"\(text)\"")
        }
        return ["limit": .integer(limit), "window_seconds": .integer(window.seconds)]
    }

    static func shown(_ rate: JSONObject?) -> String {
        guard let rate else { return "the plan's limits alone" }
        let seconds = rate.integer("window_seconds")
        let window = windows.first { $0.seconds == seconds }?.name
        return "\(rate.shown("limit"))/\(window ?? "\(rate.shown("window_seconds")) s")"
    }
}
