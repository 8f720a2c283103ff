/// Part of a list. The next part begins behind `next`, which goes into `after` as it is; `nil`:
/// this is the last. A part may hold fewer than were asked for, even none, and have a next.
public struct DirectoryPage<Item: DirectoryDocument>: DirectoryDocument {
    public var items: [Item]
    public var next: String?

    /// Some items, and where the list goes on.
    public init(items: [Item], next: String?) {
        self.items = items
        self.next = next
    }

    /// Reads a part.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        items = try members.documents("items")
        next = try members.optionalText("next")
    }

    /// The part with all of its members.
    public var json: JSONValue {
        .object(["items": .documents(items), "next": .optional(next)])
    }
}
