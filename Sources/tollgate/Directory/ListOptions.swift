import ArgumentParser
import TollgateWire

/// How much of a list to show.
struct ListOptions: ParsableArguments {
    @Option(help: "Items to show at most.") var limit: Int?
    @Flag(help: "Show the whole list, however long.") var all = false
    @Option(help: "Go on behind this cursor: the \"next\" of an earlier list.") var after: String?

    static let partMax = 1_000
    static let limitDefault = 100

    func validate() throws {
        if limit != nil, all { throw ValidationError("give --limit or --all, not both") }
        guard (1...1_000_000_000).contains(limit ?? 1) else {
            throw ValidationError("--limit is 1 to 1000000000")
        }
    }
}

extension AdminOptions {
    /// Follows a list's cursors until its end, or until `limit` items came, or nobody reads the
    /// output any more; hands over each part, and the cursor behind it.
    func parts(
        _ call: CallName, _ members: [(String, JSONValue?)] = [], after: String? = nil,
        limit: Int = .max, _ take: ([JSONObject], _ next: String?) throws -> Void
    ) throws {
        let client = client
        var left = limit
        var cursor = after
        repeat {
            let partMax = Int64(min(left, ListOptions.partMax))
            let paged: [(String, JSONValue?)] = [
                ("after", .optional(cursor)), ("limit", .integer(partMax)),
            ]
            let part = try self.call(call, members: members + paged, on: client)
            let items = part.objects("items")
            guard try part.required("items", JSONObject.array).count == items.count else {
                throw Failure(.unexpected, "the daemon lists what is no object")
            }
            let next = part.string("next")
            guard next == nil || next != cursor else {
                throw Failure(.unexpected, "the daemon's list does not come to an end")
            }
            cursor = next
            left -= items.count
            try take(items, next)
        } while cursor != nil && left > 0 && !Console.isClosed
    }
}

/// Prints a list part by part as it comes, so that its length costs no memory. As JSON it is one
/// object, `{"items":[…],"next":…}`; for people a table, whose columns widen from part to part as
/// they must.
struct ListPrinter {
    let options: AdminOptions
    let list: ListOptions
    let view: View
    private var isFirst = true
    private var widths: [Int] = []

    init(_ options: AdminOptions, _ list: ListOptions, _ view: View) {
        self.options = options
        self.list = list
        self.view = view
    }

    /// `members` are the call's beside `after` and `limit`.
    mutating func print(
        _ call: CallName, _ members: KeyValuePairs<String, JSONValue?> = [:]
    ) throws {
        var cursor = list.after
        let limit = list.all ? Int.max : list.limit ?? ListOptions.limitDefault
        try options.parts(call, Array(members), after: cursor, limit: limit) { items, next in
            try put(items)
            cursor = next
        }
        try end(cursor)
    }

    private mutating func put(_ items: [JSONObject]) throws {
        defer { isFirst = isFirst && items.isEmpty }
        guard !items.isEmpty else { return }
        if options.output.json {
            let texts = items.map { JSONValue.object($0).text }
            return try Console.print(
                (isFirst ? "{\"items\":[" : ",") + texts.joined(separator: ",\n"), isLine: false)
        }
        let rows = items.map { view.row($0).map { visible($0, onOneLine: true) } }
        if widths.isEmpty { widths = view.header.map(\.count) }
        for row in rows {
            for (column, cell) in row.enumerated() {
                widths[column] = max(widths[column], cell.count)
            }
        }
        let lines = (isFirst ? [view.header] : []) + rows
        try Console.print(lines.map { padded($0, to: widths) }.joined(separator: "\n"))
    }

    private func end(_ cursor: String?) throws {
        if options.output.json {
            let start = isFirst ? "{\"items\":[" : ""
            return try Console.print(start + "],\"next\":\(JSON.optional(cursor).text)}")
        }
        if isFirst { Console.printError("nothing is listed") }
        if let cursor {
            Console.printError(visible("there is more: --after \(cursor), or --all"))
        }
    }
}

private func padded(_ row: [String], to widths: [Int]) -> String {
    var line = zip(row, widths).map { cell, width in
        cell + String(repeating: " ", count: max(0, width - cell.count))
    }.joined(separator: "  ")
    while line.last == " " { line.removeLast() }
    return line
}
